package sys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
)

func TestExec(t *testing.T) {
	tests := []struct {
		name       string
		command    sys.Command
		stdout     string
		stderr     string
		code       int // expected *ExitError if not 0
		errorText  string
		wantsError bool
	}{
		{name: "streams kept apart", command: sys.Command{Name: "sh", Args: []string{"-c", "echo out; echo err >&2"}}, stdout: "out\n", stderr: "err\n"},
		{name: "stdin", command: sys.Command{Name: "cat", Stdin: strings.NewReader("hello")}, stdout: "hello"},
		{name: "environment", command: sys.Command{Name: "sh", Args: []string{"-c", "echo $FOO"}, Env: []string{"FOO=bar"}}, stdout: "bar\n"},
		{name: "no shell in between", command: sys.Command{Name: "echo", Args: []string{"$HOME; *"}}, stdout: "$HOME; *\n"},
		{name: "exit code", command: sys.Command{Name: "sh", Args: []string{"-c", "echo half; echo bad thing >&2; exit 5"}}, stdout: "half\n", stderr: "bad thing\n", code: 5, errorText: "exit code 5: bad thing", wantsError: true},
		{name: "signal", command: sys.Command{Name: "sh", Args: []string{"-c", "kill -9 $$"}}, code: -1, errorText: "ended by a signal", wantsError: true},
		{name: "no such program", command: sys.Command{Name: "/no/such/program"}, errorText: "cannot run /no/such/program", wantsError: true},
		{name: "too much output", command: sys.Command{Name: "head", Args: []string{"-c", "9000000", "/dev/zero"}}, errorText: "wrote more than", wantsError: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := sys.Exec{}.Run(t.Context(), tt.command)
			if (err != nil) != tt.wantsError {
				t.Fatalf("error = %v, want one: %v", err, tt.wantsError)
			}
			if err != nil && !strings.Contains(err.Error(), tt.errorText) {
				t.Errorf("error %q doesn't contain %q", err, tt.errorText)
			}
			var exit *sys.ExitError
			if errors.As(err, &exit) != (tt.code != 0) || (exit != nil && exit.Code != tt.code) {
				t.Errorf("exit error = %+v, want code %d", exit, tt.code)
			}
			if len(out.Stdout) > sys.MaxOutput {
				t.Errorf("%d bytes of output kept", len(out.Stdout))
			}
			if tt.name == "too much output" {
				return
			}
			if diff := cmp.Diff([]string{tt.stdout, tt.stderr}, []string{string(out.Stdout), string(out.Stderr)}); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExecCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := sys.Exec{}.Run(ctx, sys.Command{Name: "sleep", Args: []string{"60"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want deadline exceeded", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v to end a cancelled command", d)
	}
}

func TestCommandString(t *testing.T) {
	c := sys.Command{Name: "lvm", Args: []string{"lvs", "-o", "a b", "it's", ""}}
	if diff := cmp.Diff(`lvm lvs -o 'a b' 'it'\''s' ''`, c.String()); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
}
