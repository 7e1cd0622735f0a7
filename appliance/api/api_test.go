package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sanstick/appliance/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type statusFunc = func(context.Context) (status.Snapshot, error)

func fixed(s status.Snapshot, err error) statusFunc {
	return func(context.Context) (status.Snapshot, error) { return s, err }
}

// start runs a server until the test ends and returns a client and a function
// that stops it and waits.
func start(t *testing.T, socket string, f statusFunc, actions ...Action) (*Client, func()) {
	t.Helper()
	s := New(Options{Socket: socket, Status: f, Actions: actions})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("server ended: %v", err)
	}
	c := NewClient(socket)
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	}
	t.Cleanup(stop)
	return c, stop
}

func TestStatus(t *testing.T) {
	want := status.Snapshot{
		Time: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), Hostname: "attic", Health: status.Degraded,
		Problems: []status.Problem{{Health: status.Degraded, What: "disk X is gone", Do: "replace it"}},
		Pools:    []status.Pool{{Name: "tank", Missing: []string{"X"}, Sync: 12.5}},
	}
	socket := filepath.Join(t.TempDir(), "run", "api.sock")
	c, stop := start(t, socket, fixed(want, nil))
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}

	for path, want := range map[string]os.FileMode{socket: 0o600 | os.ModeSocket, filepath.Dir(socket): 0o700 | os.ModeDir} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("mode of %s is %v, want %v", path, info.Mode(), want)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(socket)); len(entries) != 1 {
		t.Errorf("directory holds %v", entries)
	}

	stop()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket is still there: %v", err)
	}
	var e *Error
	if _, err := c.Status(t.Context()); !errors.As(err, &e) || !strings.Contains(e.Message, "not running") || e.Do == "" {
		t.Errorf("error without a server: %v", err)
	}
}

func TestStatusFails(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Error
	}{
		{errors.New("cannot read: x"), Error{"cannot read: x", "try again; if it stays, look at /run/log/appliance.log"}},
		{&Error{"no", "do"}, Error{"no", "do"}},
	} {
		c, stop := start(t, filepath.Join(t.TempDir(), "api.sock"), fixed(status.Snapshot{}, tt.err))
		_, err := c.Status(t.Context())
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("error %v of type %T", err, err)
		}
		if diff := cmp.Diff(tt.want, *e); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
		stop()
	}
}

func TestHandler(t *testing.T) {
	s := New(Options{Status: fixed(status.Snapshot{}, nil)})
	for _, tt := range []struct {
		method, path string
		code         int
		contains     string
	}{
		{"GET", "/v1/status", 200, `"hostname"`},
		{"HEAD", "/v1/status", 200, ""},
		{"POST", "/v1/status", 405, `"error":"/v1/status does not take POST","do":"use GET"`},
		{"GET", "/", 404, `"error":"there is no`},
		{"GET", "/v1/" + strings.Repeat("x", 5000), 404, `"error"`},
		{"GET", "/v1/status/", 404, `"error"`},
	} {
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.contains) || w.Body.Len() > 500 && tt.code != 200 ||
			w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %.20s: %d %v %.200s", tt.method, tt.path, w.Code, w.Header(), w.Body)
		}
	}
}

func TestRunReplacesOnlyDeadSockets(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "api.sock")

	// A socket that a killed daemon left behind.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	c, _ := start(t, socket, fixed(status.Snapshot{Hostname: "first"}, nil))

	second := New(Options{Socket: socket, Status: fixed(status.Snapshot{}, nil)})
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another appliance daemon") {
		t.Errorf("second server: %v", err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Hostname != "first" {
		t.Errorf("first server after the second: %q, %v", s.Hostname, err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(Options{Socket: file}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("server on a file: %v", err)
	}
	if err := New(Options{Socket: filepath.Join(dir, strings.Repeat("x", 120))}).Run(t.Context()); err == nil {
		t.Error("server on a long path runs")
	}
}

// The end of the server waits for a request under way, which sees no
// cancellation before it is done.
// A daemon that is too busy to accept is not a dead one.
func TestRunLeavesBusySockets(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: socket}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until the queue of connections is full
		c, err := net.Dial("unix", socket)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	s := New(Options{Socket: socket, Status: fixed(status.Snapshot{}, nil)})
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "another appliance daemon") {
		t.Errorf("Run on a busy daemon's socket = %v", err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the busy daemon's socket: %v", err)
	}
}

func TestStopWaitsForRequests(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	c, stop := start(t, filepath.Join(t.TempDir(), "api.sock"), func(ctx context.Context) (status.Snapshot, error) {
		close(inside)
		<-release
		return status.Snapshot{Hostname: "late"}, ctx.Err()
	})
	answer := make(chan error, 1)
	go func() {
		s, err := c.Status(context.Background())
		if err == nil && s.Hostname != "late" {
			err = errors.New("wrong answer " + s.Hostname)
		}
		answer <- err
	}()
	<-inside
	go func() {
		time.Sleep(20 * time.Millisecond) // let stop begin
		close(release)
	}()
	stop()
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// A client that never sends its request holds nobody up.
func TestSilentClients(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	c, _ := start(t, socket, fixed(status.Snapshot{}, nil))
	for range maxConnections - 1 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err != nil {
		t.Error(err)
	}
}

func TestClientDistrustsTheServer(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"no JSON":       func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"no error body": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			piece := []byte(strings.Repeat(" ", 1<<20))
			for range maxAnswer>>20 + 1 {
				w.Write(piece)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewUnstartedServer(h)
			srv.Listener.Close()
			srv.Listener = l
			srv.Start()
			defer srv.Close()
			c := NewClient(socket)
			defer c.Close()
			if s, err := c.Status(t.Context()); err == nil {
				t.Errorf("got %+v", s)
			}
		})
	}
}
