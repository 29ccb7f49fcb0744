package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// AlreadyRunning is the error of a second start in the same checkout.
type AlreadyRunning struct {
	PID     int    // of the process that runs
	Address string // where it listens; empty while it is still starting
	Folder  string // the data folder that both want
}

// Error says where the first one runs.
func (e *AlreadyRunning) Error() string {
	if e.Address == "" {
		return fmt.Sprintf("Tenon is already starting on %s (pid %d)", e.Folder, e.PID)
	}
	return fmt.Sprintf("Tenon already runs on %s: %s (pid %d)", e.Folder, e.Address, e.PID)
}

// lock is held by the one process that uses a data folder. The kernel drops it with the process, so none is left over.
type lock struct {
	file *os.File
}

type lockContent struct {
	PID     int    `json:"pid"`
	Address string `json:"address,omitempty"`
}

// takeLock returns *AlreadyRunning when another process, or another server of this one, holds the folder.
func takeLock(folder string) (*lock, error) {
	path := filepath.Join(folder, "lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data folder: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		taken := &lock{file: file}
		if err := taken.write(""); err != nil {
			taken.release()
			return nil, err
		}
		return taken, nil
	}
	defer file.Close() //nolint:errcheck // Read only from here on.
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	var holder lockContent
	if data, readErr := os.ReadFile(path); readErr == nil {
		_ = json.Unmarshal(data, &holder) // A file half written just now only costs the message its details.
	}
	return nil, &AlreadyRunning{PID: holder.PID, Address: holder.Address, Folder: folder}
}

func (l *lock) write(address string) error {
	data, err := json.Marshal(lockContent{PID: os.Getpid(), Address: address})
	if err != nil {
		return fmt.Errorf("encode the lock file: %w", err)
	}
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	if _, err := l.file.WriteAt(append(data, '\n'), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

func (l *lock) release() {
	_ = l.file.Truncate(0) // Closing frees the lock even if this fails.
	_ = l.file.Close()
}
