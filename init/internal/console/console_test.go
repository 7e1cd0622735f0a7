package console_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/init/internal/console"
	"sanstick/init/internal/supervise"
)

// The test binary is the shell, too.
func TestMain(m *testing.M) {
	if os.Getenv("CONSOLE_TEST") == "" {
		os.Exit(m.Run())
	}
	// A hang-up ends a shell even if the tests were started with nohup.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	go func() { <-hup; os.Exit(1) }()
	if _, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err != nil {
		fmt.Println("no controlling terminal:", err)
	}
	fmt.Println("shell on", os.Getenv("TERM"))
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Printf("got %q %v\n", line, err)
	os.Exit(0)
}

// pty returns a new pseudo terminal: the person's end, and the name of the
// machine's end in /dev/pts.
func pty(t *testing.T) (*os.File, string) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var ioerr error
	if err := raw.Control(func(fd uintptr) {
		if ioerr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); ioerr == nil {
			n, ioerr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil || ioerr != nil {
		t.Fatal(err, ioerr)
	}
	// While nobody has the machine's end open, reading fails.
	end, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	if err := f.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return f, fmt.Sprint(n)
}

// expect reads until the text has come.
func expect(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var all []byte
	buf := make([]byte, 1024)
	for !strings.Contains(string(all), text) {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %q after %q: %v", text, all, err)
		}
		all = append(all, buf[:n]...)
	}
}

func TestActive(t *testing.T) {
	sysfs := t.TempDir()
	if diff := cmp.Diff([]string{"ttyS0"}, console.Active(sysfs, "ttyS0")); diff != "" {
		t.Errorf("without sysfs (-want +got):\n%s", diff)
	}
	dir := filepath.Join(sysfs, "class/tty/console")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string][]string{
		"tty0 ttyS0\n":      {"tty1", "ttyS0"},
		"tty0\n":            {"tty1", "ttyS0"},
		"hvc0 ttyS1 tty1\n": {"hvc0", "ttyS1", "tty1", "ttyS0"},
		"../x\n":            {"ttyS0"},
		"":                  {"ttyS0"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "active"), []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, console.Active(sysfs, "ttyS0")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

// Both consoles get the lines, and one that isn't there harms nobody.
func TestWriter(t *testing.T) {
	a, aName := pty(t)
	b, bName := pty(t)
	w := console.NewWriter("/dev/pts", []string{aName, "missing", bName})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	fmt.Fprintln(w, "hello")
	expect(t, a, "hello\r\n")
	expect(t, b, "hello\r\n")
	// Last words come out, too.
	fmt.Fprintln(w, "bye")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	expect(t, a, "bye\r\n")
}

// What hangs a terminal up for everybody, the end of a shell on it, loses no
// line.
func TestWriterAfterHangup(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "tty")
	a, aName := pty(t)
	b, bName := pty(t)
	if err := os.Symlink(filepath.Join("/dev/pts", aName), link); err != nil {
		t.Fatal(err)
	}
	w := console.NewWriter(dir, []string{"tty"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	fmt.Fprintln(w, "hello")
	expect(t, a, "hello\r\n")
	// Closing its other end hangs a pseudo terminal up.
	if err := errors.Join(os.Remove(link), os.Symlink(filepath.Join("/dev/pts", bName), link), a.Close()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "still here")
	expect(t, b, "still here\r\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A console that takes nothing doesn't hold up who writes.
func TestWriterFull(t *testing.T) {
	a, name := pty(t)
	w := console.NewWriter("/dev/pts", []string{name})
	for range 10000 {
		fmt.Fprintln(w, "line")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	expect(t, a, "lines were left out")
	cancel()
	go func() { _, _ = io.Copy(io.Discard, a) }() // until the terminal is closed
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShell(t *testing.T) {
	person, name := pty(t)
	r := supervise.NewReaper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- r.Run(ctx) }()
	sh := console.NewShell("/dev/pts", name, r, supervise.Spec{
		Path: os.Args[0], Env: []string{"CONSOLE_TEST=1"},
	}, slog.New(slog.DiscardHandler))
	shctx, stop := context.WithCancel(ctx)
	shdone := make(chan error)
	go func() { shdone <- sh.Run(shctx) }()

	<-sh.Ready()
	for range 2 { // after the shell's end there is another
		expect(t, person, "Press Enter")
		io.WriteString(person, "\n")
		expect(t, person, "shell on linux")
		io.WriteString(person, "word\n")
		expect(t, person, `got "word\n" <nil>`)
	}
	expect(t, person, "Press Enter")
	io.WriteString(person, "\n")
	expect(t, person, "shell on linux")
	stop() // hangs the shell up
	if err := <-shdone; err != nil {
		t.Error(err)
	}
	if err := r.WaitChildless(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShellStopsAtPrompt(t *testing.T) {
	person, name := pty(t)
	sh := console.NewShell("/dev/pts", name, supervise.NewReaper(), supervise.Spec{}, slog.New(slog.DiscardHandler))
	for _, sh := range []*console.Shell{
		sh, console.NewShell("/dev/pts", "missing", supervise.NewReaper(), supervise.Spec{}, slog.New(slog.DiscardHandler)),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := sh.Run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	expect(t, person, "Press Enter")
}

func TestHandler(t *testing.T) {
	var kmsg, out bytes.Buffer
	log := slog.New(console.NewHandler(&kmsg, &out))
	log.Debug("Quiet", "n", 1)
	log.With("who", "me").Info("Hello", "what", "two words", "empty", "")
	log.WithGroup("g").Error("Bad", "err", errors.New("line one\nline two"))
	want := "init: Hello who=me what=\"two words\" empty=\"\"\ninit: Bad g.err=line one\nline two\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("console (-want +got):\n%s", diff)
	}
	want = "<31>init: Quiet n=1\n<30>init: Hello who=me what=\"two words\" empty=\"\"\n<28>init: Bad g.err=line one | line two\n"
	if diff := cmp.Diff(want, kmsg.String()); diff != "" {
		t.Errorf("kmsg (-want +got):\n%s", diff)
	}
}
