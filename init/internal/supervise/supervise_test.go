package supervise_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/init/internal/supervise"
)

// The test binary is the program that is run, too: SUPERVISE_TEST says what
// it does.
func TestMain(m *testing.M) {
	args := os.Args[1:]
	switch os.Getenv("SUPERVISE_TEST") {
	case "":
		// Orphans of the tests' children come to us, as they would to PID 1.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	case "exit":
		fmt.Println("hello")
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "stubborn", "good":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		fmt.Println("up")
		if os.Getenv("SUPERVISE_TEST") == "good" {
			<-ch
			fmt.Println("bye")
			os.Exit(0)
		}
	case "orphan":
		// Leaves a child behind that ends later.
		_, err := syscall.ForkExec(os.Args[0], []string{os.Args[0]}, &syscall.ProcAttr{Env: []string{"SUPERVISE_TEST=nap"}})
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case "nap":
		time.Sleep(50 * time.Millisecond)
		os.Exit(0)
	}
	select {}
}

func self(what string, args ...string) supervise.Spec {
	return supervise.Spec{Path: os.Args[0], Args: args, Env: []string{"SUPERVISE_TEST=" + what}}
}

// newReaper starts a Reaper that ends with the test.
func newReaper(t *testing.T) *supervise.Reaper {
	t.Helper()
	r := supervise.NewReaper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("reaper: %v", err)
		}
	})
	return r
}

func TestExit(t *testing.T) {
	r := newReaper(t)
	tests := []struct {
		spec supervise.Spec
		want string
	}{
		{self("exit", "0"), "exit code 0"},
		{self("exit", "3"), "exit code 3"},
		{self("crash"), "signal killed"},
	}
	for _, tt := range tests {
		c, err := r.Start(tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if c.Exit() != tt.want {
			t.Errorf("%v ended with %s, want %s", tt.spec.Env, c.Exit(), tt.want)
		}
		c.Signal(syscall.SIGKILL) // gone: must not reach anybody
	}
	if _, err := r.Start(supervise.Spec{Path: "/no/such/program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("starting what isn't there: %v", err)
	}
}

// Programs that end at once must not be lost between start and registration.
func TestManyAtOnce(t *testing.T) {
	r := newReaper(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 5 {
				c, err := r.Start(self("exit", strconv.Itoa(i)))
				if err != nil {
					t.Error(err)
					return
				}
				<-c.Done()
				if want := fmt.Sprintf("exit code %d", i); c.Exit() != want {
					t.Errorf("ended with %s, want %s", c.Exit(), want)
				}
			}
		})
	}
	wg.Wait()
}

func TestOrphans(t *testing.T) {
	r := newReaper(t)
	if err := r.RunOnce(t.Context(), self("orphan")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.WaitChildless(ctx); err != nil {
		t.Errorf("an orphan wasn't reaped: %v", err)
	}
}

func TestWaitChildlessLimit(t *testing.T) {
	r := newReaper(t)
	c, err := r.Start(self("stubborn"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.WaitChildless(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitChildless with a child = %v", err)
	}
	c.SignalGroup(syscall.SIGKILL)
	<-c.Done()
}

func TestRunOnce(t *testing.T) {
	r := newReaper(t)
	if err := r.RunOnce(t.Context(), self("exit", "0")); err != nil {
		t.Errorf("RunOnce of a good program = %v", err)
	}
	if err := r.RunOnce(t.Context(), self("exit", "1")); err == nil || !strings.Contains(err.Error(), "exit code 1") {
		t.Errorf("RunOnce of a failing program = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.RunOnce(ctx, self("stubborn")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("RunOnce of a hanging program = %v", err)
	}
}

func TestBackoff(t *testing.T) {
	b := supervise.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second, Healthy: time.Minute}
	var got []time.Duration
	last := time.Duration(0)
	for _, ran := range []time.Duration{0, 0, 0, 0, 59 * time.Second, 0, 0, 0, time.Minute, 0} {
		last = b.Next(last, ran)
		got = append(got, last/time.Millisecond)
	}
	want := []time.Duration{200, 400, 800, 1600, 3200, 6400, 10000, 10000, 200, 400}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pauses in ms (-want +got):\n%s", diff)
	}
}

// seen collects output and tells when a text has come a number of times.
type seen struct {
	mu   sync.Mutex
	b    bytes.Buffer
	text string
	n    int
	done chan struct{}
}

func waitFor(text string, n int) *seen { return &seen{text: text, n: n, done: make(chan struct{})} }

func (s *seen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := strings.Count(s.b.String(), s.text)
	s.b.Write(b)
	if after := strings.Count(s.b.String(), s.text); before < s.n && after >= s.n {
		close(s.done)
	}
	return len(b), nil
}

func (s *seen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func runDaemon(t *testing.T, out io.Writer, spec supervise.Spec, grace time.Duration) (d *supervise.Daemon, stop func()) {
	t.Helper()
	d = supervise.NewDaemon(supervise.DaemonOptions{
		Reaper: newReaper(t), Spec: spec, Output: out, Grace: grace, Log: slog.New(slog.DiscardHandler),
		Backoff: supervise.Backoff{Min: time.Millisecond, Max: 4 * time.Millisecond, Healthy: time.Minute},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	return d, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("daemon: %v", err)
		}
	}
}

func TestDaemonRestarts(t *testing.T) {
	for _, what := range []string{"exit", "crash"} {
		t.Run(what, func(t *testing.T) {
			out := waitFor("hello\n", 3)
			d, stop := runDaemon(t, out, self(what, "1"), time.Second)
			<-d.Ready()
			if what == "exit" {
				<-out.done
			}
			stop()
		})
	}
	t.Run("not there", func(t *testing.T) {
		_, stop := runDaemon(t, io.Discard, supervise.Spec{Path: "/no/such/program"}, time.Second)
		time.Sleep(20 * time.Millisecond)
		stop()
	})
}

func TestDaemonStops(t *testing.T) {
	out := waitFor("up\n", 1)
	_, stop := runDaemon(t, out, self("good"), time.Minute)
	<-out.done
	stop()
	if diff := cmp.Diff("up\nbye\n", out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestDaemonIsKilled(t *testing.T) {
	out := waitFor("up\n", 1)
	_, stop := runDaemon(t, out, self("stubborn"), 20*time.Millisecond)
	<-out.done
	stop()
}

func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := supervise.OpenLogFile(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, s := range []string{"one\n", "two\n", "three\n", "four\n", "longer than all\n", "z\n"} {
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for _, p := range []string{path, path + ".1", path + ".2"} {
		if b, err := os.ReadFile(p); err == nil {
			got[strings.TrimPrefix(p, path)] = string(b)
		}
	}
	if diff := cmp.Diff(map[string]string{"": "z\n", ".1": "longer than all\n"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// What is there already counts.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = supervise.OpenLogFile(path, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("abc\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path + ".1"); string(b) != "z\n" {
		t.Errorf("after opening again, the old file holds %q, %v", b, err)
	}
}
