//go:build !linux

package chaos

import "errors"

func canMount() bool { return false }

func mountDisk(string, int64) error { return errors.ErrUnsupported }

func unmountDisk(string) error { return errors.ErrUnsupported }
