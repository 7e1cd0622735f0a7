package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// webSite serves one file, and breaks off as often as it is told.
type webSite struct {
	data     []byte
	etag     atomic.Value
	ranges   bool
	cutAfter int64 // bytes of each answer; 0: never
	status   atomic.Int64
	requests atomic.Int64
}

func (s *webSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if code := s.status.Swap(0); code != 0 {
		w.WriteHeader(int(code))
		return
	}
	if !s.ranges {
		r.Header.Del("Range")
		w.Header().Set("Content-Length", fmt.Sprint(len(s.data)))
		w.Write(s.data)
		return
	}
	if e, _ := s.etag.Load().(string); e != "" {
		w.Header().Set("ETag", e)
	}
	var out http.ResponseWriter = w
	if s.cutAfter > 0 {
		out = &cutWriter{w, s.cutAfter}
	}
	http.ServeContent(out, r, "x", time.Time{}, bytes.NewReader(s.data))
}

type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.left <= 0 {
		panic(http.ErrAbortHandler)
	}
	n, err := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == nil && n < len(p) {
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func newSite(t *testing.T) (*webSite, string) {
	t.Helper()
	s := &webSite{data: make([]byte, 5<<20+77), ranges: true}
	s.etag.Store(`"one"`)
	rand.NewChaCha8([32]byte{}).Read(s.data)
	srv := httptest.NewServer(s)
	srv.Config.ErrorLog = nil
	t.Cleanup(srv.Close)
	return s, srv.URL + "/dir/file.img"
}

// TestHTTPS: a server whose certificate is trusted is read; of another one
// nothing is, and it isn't asked again.
func TestHTTPS(t *testing.T) {
	s := &webSite{data: make([]byte, 100_000), ranges: true}
	s.etag.Store(`"one"`)
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	if _, err := OpenWeb(t.Context(), srv.URL+"/file.img", WebOptions{Pause: time.Hour}); err == nil || !strings.Contains(err.Error(), "can't be trusted") {
		t.Errorf("error %v", err)
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
	w, err := OpenWeb(t.Context(), srv.URL+"/file.img", WebOptions{Client: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, err := io.ReadAll(w.Reader()); err != nil || !bytes.Equal(got, s.data) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}

var quick = WebOptions{Pause: time.Millisecond}

func TestWeb(t *testing.T) {
	for _, cut := range []int64{0, 700_000} {
		s, address := newSite(t)
		s.cutAfter = cut
		w, err := OpenWeb(t.Context(), address, quick)
		if err != nil {
			t.Fatal(err)
		}
		if w.Size() != int64(len(s.data)) || !w.Ranges() || !w.Known() || w.Name() != "file.img" {
			t.Errorf("size %d, ranges %v, known %v, name %s", w.Size(), w.Ranges(), w.Known(), w.Name())
		}
		got, err := io.ReadAll(w.Reader())
		if err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("cut %d: %d bytes, error %v", cut, len(got), err)
		}
		before := s.requests.Load()
		p := make([]byte, 100_000)
		for i := range 20 { // tables here, data there
			for _, off := range []int64{int64(i) * 100_000, 4_000_000 + int64(i)*1000} {
				if _, err := w.ReadAt(p[:1000], off); err != nil || !bytes.Equal(p[:1000], s.data[off:off+1000]) {
					t.Fatalf("cut %d: read at %d: %v", cut, off, err)
				}
			}
		}
		if n := s.requests.Load() - before; cut == 0 && n > 3 {
			t.Errorf("%d requests for two places", n)
		}
		if _, err := w.ReadAt(p, w.Size()-5); err == nil {
			t.Error("reads beyond the end")
		}
		w.Close()
	}
}

func TestWebTrouble(t *testing.T) {
	t.Run("changed", func(t *testing.T) {
		s, address := newSite(t)
		s.cutAfter = 1 << 20
		w, err := OpenWeb(t.Context(), address, quick)
		if err != nil {
			t.Fatal(err)
		}
		s.etag.Store(`"two"`)
		if _, err := io.ReadAll(w.Reader()); err == nil || !strings.Contains(err.Error(), "has changed") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		s, address := newSite(t)
		s.status.Store(503)
		if _, err := OpenWeb(t.Context(), address, quick); err != nil {
			t.Errorf("error %v", err)
		}
	})
	t.Run("not there", func(t *testing.T) {
		s, address := newSite(t)
		s.status.Store(404)
		secret := strings.Replace(address, "http://", "http://me:hush@", 1) + "?token=hush"
		if _, err := OpenWeb(t.Context(), secret, quick); err == nil || !strings.Contains(err.Error(), "404") || strings.Contains(err.Error(), "hush") {
			t.Errorf("error %v", err)
		}
		if s.requests.Load() != 1 {
			t.Errorf("%d requests", s.requests.Load())
		}
	})
	t.Run("down", func(t *testing.T) {
		w, err := OpenWeb(t.Context(), "http://me:hush@127.0.0.1:1/x", WebOptions{Pause: time.Millisecond, Retries: 2})
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, error %v", w, err)
		}
	})
	t.Run("no ranges", func(t *testing.T) {
		s, address := newSite(t)
		s.ranges = false
		w, err := OpenWeb(t.Context(), address, quick)
		if err != nil || w.Ranges() {
			t.Fatalf("error %v, ranges %v", err, w.Ranges())
		}
		got, err := io.ReadAll(w.Reader())
		if err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("%d bytes, error %v", len(got), err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		_, address := newSite(t)
		ctx, cancel := context.WithCancel(t.Context())
		w, err := OpenWeb(ctx, address, quick)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := w.ReadAt(make([]byte, 10), 3<<20); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	for _, bad := range []string{"", "x", "ftp://a/b", "http://", "file:///etc/shadow"} {
		if _, err := OpenWeb(t.Context(), bad, quick); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
