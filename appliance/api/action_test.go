package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

type question struct{ Name string }
type reply struct{ Text string }

var (
	verb = Verb[question, reply]{"thing.make"}
	up   = Upload[question, reply]{"thing.fill"}
	down = Download[question, reply]{"thing.read"}
)

func with(t *testing.T, actions ...Action) *Client {
	t.Helper()
	c, _ := start(t, filepath.Join(t.TempDir(), "api.sock"), fixed(status.Snapshot{}, nil), actions...)
	return c
}

func wantError(t *testing.T, err error, message string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, message) || e.Do == "" {
		t.Errorf("error %v, want one with %q and advice", err, message)
	}
}

func TestVerb(t *testing.T) {
	long := 3 * reportPeriod
	c := with(t, verb.Handle(func(ctx context.Context, q question, progress func(Progress)) (reply, error) {
		switch q.Name {
		case "quick":
			return reply{"done " + q.Name}, nil
		case "wrong":
			return reply{}, &Error{Message: "no such thing", Do: "choose another"}
		case "late":
			progress(Progress{What: "trying", Done: 1, Total: 2})
			time.Sleep(long)
			return reply{}, errors.New("it broke")
		}
		progress(Progress{What: "working", Done: 1, Total: 2})
		time.Sleep(long)
		return reply{"slowly"}, nil
	}))
	got, err := verb.Call(t.Context(), c, question{"quick"}, nil)
	if err != nil || got.Text != "done quick" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = verb.Call(t.Context(), c, question{"wrong"}, nil)
	wantError(t, err, "no such thing")
	_, err = verb.Call(t.Context(), c, question{"late"}, nil)
	wantError(t, err, "it broke")
	var seen []Progress
	got, err = verb.Call(t.Context(), c, question{"slow"}, func(p Progress) { seen = append(seen, p) })
	if err != nil || got.Text != "slowly" {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff([]Progress{{What: "working", Done: 1, Total: 2}}, seen); diff != "" {
		t.Errorf("progress (-want +got)\n%s", diff)
	}
	_, err = Verb[question, reply]{"thing.unmake"}.Call(t.Context(), c, question{}, nil)
	wantError(t, err, "there is no")
	_, err = Verb[map[string]int, reply]{"thing.make"}.Call(t.Context(), c, map[string]int{"Nane": 1}, nil)
	wantError(t, err, "cannot decode")
}

// TestVerbCancelled sees that the work ends when the client has gone.
func TestVerbCancelled(t *testing.T) {
	ended := make(chan struct{})
	c := with(t, verb.Handle(func(ctx context.Context, q question, progress func(Progress)) (reply, error) {
		defer close(ended)
		<-ctx.Done()
		return reply{}, ctx.Err()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := verb.Call(ctx, c, question{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the work goes on")
	}
}

func TestUpload(t *testing.T) {
	c := with(t, up.Handle(func(ctx context.Context, q question, body io.Reader, progress func(Progress)) (reply, error) {
		if q.Name == "refused" {
			return reply{}, &Error{Message: "not into that", Do: "choose another"}
		}
		n, err := io.Copy(io.Discard, body)
		progress(Progress{Done: n})
		return reply{q.Name + " " + status.FormatBytes(n)}, err
	}))
	const size = 5 << 20
	got, err := up.Call(t.Context(), c, question{"vm 1&2"}, io.LimitReader(zeros{}, size), nil)
	if err != nil || got.Text != "vm 1&2 5 MiB" {
		t.Errorf("%+v, %v", got, err)
	}
	// Refused while there is lots to send.
	_, err = up.Call(t.Context(), c, question{"refused"}, io.LimitReader(zeros{}, 1<<30), nil)
	wantError(t, err, "not into that")
	// What is sent breaks off: the daemon must not take it for the end.
	_, err = up.Call(t.Context(), c, question{"vm"}, io.MultiReader(io.LimitReader(zeros{}, size), broken{}), nil)
	if err == nil {
		t.Error("a stream that broke off counts as whole")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the cable is out") }

func TestDownload(t *testing.T) {
	c := with(t, down.Handle(func(ctx context.Context, q question, w io.Writer) (reply, error) {
		if q.Name == "wrong" {
			return reply{}, &Error{Message: "no such thing", Do: "choose another"}
		}
		if _, err := io.WriteString(w, strings.Repeat("x", 100_000)); err != nil {
			return reply{}, err
		}
		switch q.Name {
		case "broken":
			return reply{}, errors.New("a disk can't be read")
		case "cut":
			panic("what a daemon that dies looks like from outside")
		}
		return reply{"all"}, nil
	}))
	var b bytes.Buffer
	got, err := down.Call(t.Context(), c, question{"good"}, &b)
	if err != nil || got.Text != "all" || b.Len() != 100_000 {
		t.Errorf("%+v, %v, %d bytes", got, err, b.Len())
	}
	_, err = down.Call(t.Context(), c, question{"wrong"}, &b)
	wantError(t, err, "no such thing")
	_, err = down.Call(t.Context(), c, question{"broken"}, &b)
	wantError(t, err, "a disk can't be read")
	if _, err = down.Call(t.Context(), c, question{"cut"}, &b); err == nil {
		t.Error("a stream that was cut off counts as whole")
	}
}

// TestUploadEnds: the server's connection ends well though the body does so only
// after the answer.
func TestUploadEnds(t *testing.T) {
	var log bytes.Buffer
	s := New(Options{
		Socket: filepath.Join(t.TempDir(), "api.sock"), Status: fixed(status.Snapshot{}, nil), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Actions: []Action{up.Handle(func(_ context.Context, q question, body io.Reader, _ func(Progress)) (reply, error) {
			_, err := io.ReadFull(body, make([]byte, 1000))
			return reply{q.Name}, err
		})},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	path, err := withQuery(up.Name, question{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n%s\r\n", path, strings.Repeat("x", 1000)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // the handler has returned
	if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
	conn.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "panic") {
		t.Errorf("the log has\n%s", log.String())
	}
}
