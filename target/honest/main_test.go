package honest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

var long = flag.Bool("long", false, "more crashes for each answer; files sparse and full")

// inside names the directory for the tests, in the process that runs them.
const inside = "SANSTICK_HONEST_DIR"

// TestMain runs the tests in a process with its own mount namespace. When that
// ends, even by a panic or a timeout, no mount is left, and no loop device, as
// they are cleared when nobody has them open.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		goleak.VerifyTestMain(m)
		return
	}
	code, err := enclose()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot run the tests of target/honest: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// enclose runs this program once more and returns its exit code.
func enclose() (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("they need root, to make loop devices and to mount file systems")
	}
	dir, err := os.MkdirTemp("", "honest")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) // what was mounted there isn't here
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}
