package chaos

import (
	"fmt"
	"os"
	"syscall"
)

// canMount tells whether a small disk can be had: it takes root.
func canMount() bool { return os.Geteuid() == 0 }

// mountDisk puts a small disk on a folder.
func mountDisk(folder string, bytes int64) error {
	if err := syscall.Mount("tenon-chaos", folder, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", bytes)); err != nil {
		return fmt.Errorf("mount a small disk on %s: %w", folder, err)
	}
	return nil
}

func unmountDisk(folder string) error {
	if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", folder, err)
	}
	return nil
}
