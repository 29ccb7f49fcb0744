package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that Postgres runs as. The zero account is the user of this process.
type account struct {
	name     string
	uid, gid uint32
	switched bool // this process is root and Postgres runs as somebody else
}

// pickAccount returns the unprivileged user to start Postgres as: ourselves, or as root `postgres`, else `nobody`, because Postgres
// refuses to run as root and needs a user that the system knows by name.
func pickAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if errors.Join(uidErr, gidErr) == nil && uid != 0 {
			return account{name: name, uid: uint32(uid), gid: uint32(gid), switched: true}, nil
		}
	}
	return account{}, errors.New("this process is root, Postgres must not run as root, and there is neither a user postgres nor a user nobody: add one (useradd --system postgres) or start Tenon as another user")
}

func (a account) credential() *syscall.Credential {
	if !a.switched {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own gives a file or folder to the account.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to the user %s: %w", path, a.name, err)
	}
	return nil
}

// canEnter reports whether the account may enter the folder. It asks the kernel by going there, since modes alone do not tell (ACLs,
// mounts).
func (a account) canEnter(folder string) bool {
	if !a.switched {
		return true
	}
	return a.try(`cd -- "$1"`, folder)
}

// canRun reports whether the account may execute the file.
func (a account) canRun(file string) bool {
	if !a.switched {
		info, err := os.Stat(file)
		return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
	}
	return a.try(`test -f "$1" && test -x "$1"`, file)
}

func (a account) try(script, path string) bool {
	cmd := exec.Command("/bin/sh", "-c", script, "sh", path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential()}
	return cmd.Run() == nil
}
