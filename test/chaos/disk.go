package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
)

// canMount tells whether a small disk can be had: it takes root, and Linux's tmpfs.
func canMount() bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 }

// mountDisk puts a small disk on a folder.
func mountDisk(folder string, bytes int64) error {
	options := "size=" + strconv.FormatInt(bytes, 10) + ",mode=0755"
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tenon-chaos", folder).CombinedOutput(); err != nil { //nolint:gosec,noctx // a folder of ours; done at once
		return fmt.Errorf("mount a small disk on %s: %w: %s", folder, err, out)
	}
	return nil
}

func unmountDisk(folder string) error {
	if out, err := exec.Command("umount", "-l", folder).CombinedOutput(); err != nil { //nolint:gosec,noctx // the same
		return fmt.Errorf("unmount %s: %w: %s", folder, err, out)
	}
	return nil
}
