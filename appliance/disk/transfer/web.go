package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Web is a file on a web server, read here and there with ranges. When a
// connection breaks off it asks again, and notices if the file isn't the same
// any more. Not for concurrent use; it ends with its context.
type Web struct {
	ctx    context.Context
	o      WebOptions
	url    *url.URL
	size   int64  // -1 if the server doesn't tell
	etag   string // strong, or ""
	date   string // Last-Modified, or ""
	ranges bool

	open []*webBody // the one that was used last is the last
}

// WebOptions may all be left out.
type WebOptions struct {
	Client *http.Client
	// Retries is how often in a row a connection may fail before that is an
	// error; 0 is 8, with pauses that add up to a minute or so.
	Retries int
	Pause   time.Duration // before the first retry; 0 is 500 ms
}

// webBody is an answer that is being read, from at on.
type webBody struct {
	body io.ReadCloser
	at   int64
}

// Connections are kept at several places of the file, as an image's tables and
// its data lie apart. To skip a little is quicker than to ask anew.
const (
	webBodies = 3
	webSkip   = 1 << 20
)

// errPermanent marks what asking again doesn't mend.
var errPermanent = errors.New("the server's answer")

// OpenWeb asks for a file at an http or https address.
func OpenWeb(ctx context.Context, address string, o WebOptions) (*Web, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("it is no http or https address")
	}
	if o.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 30 * time.Second
		t.DisableCompression = true
		o.Client = &http.Client{Transport: t}
	}
	if o.Retries == 0 {
		o.Retries = 8
	}
	if o.Pause == 0 {
		o.Pause = 500 * time.Millisecond
	}
	w := &Web{ctx: ctx, o: o, url: u, size: -1}
	return w, w.retry(w.first)
}

// Name is the file's name, for its ending.
func (w *Web) Name() string { return path.Base(w.url.Path) }

// String is the address without a password and without a query, which may be
// secret, too.
func (w *Web) String() string {
	u := *w.url
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Size is -1 if the server doesn't tell.
func (w *Web) Size() int64 { return w.size }

// Ranges tells whether the file can be read here and there. Without that, and
// without a way to know the file again, there is no going on after an
// interruption.
func (w *Web) Ranges() bool { return w.ranges && w.size >= 0 }

// Identity changes when the file does, as far as the server tells.
func (w *Web) Identity() string {
	return strings.Join([]string{w.String(), w.url.RawQuery, strconv.FormatInt(w.size, 10), w.etag, w.date}, "\n")
}

// Known tells whether the server says how to know the file again.
func (w *Web) Known() bool { return w.etag != "" || w.date != "" }

// Sibling opens another file of the same directory.
func (w *Web) Sibling(name string) (*Web, error) {
	return OpenWeb(w.ctx, w.url.ResolveReference(&url.URL{Path: "./" + name, RawQuery: w.url.RawQuery}).String(), w.o)
}

// Close ends all connections.
func (w *Web) Close() error {
	for _, b := range w.open {
		b.body.Close()
	}
	w.open = nil
	w.o.Client.CloseIdleConnections()
	return nil
}

// get asks for the file from off on.
func (w *Web) get(off int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, w.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	resp, err := w.o.Client.Do(req)
	if err != nil {
		err = redact(err)
		if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
			return nil, fmt.Errorf("%w can't be trusted: %w (is the appliance's clock right? a server of your own can be asked by http)", errPermanent, err)
		}
		if d, is := errors.AsType[*net.DNSError](err); is && d.IsNotFound {
			return nil, fmt.Errorf("%w can't be had: %w", errPermanent, err)
		}
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent:
		return resp, nil
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout:
		err = errors.New("the server answered " + resp.Status)
	default:
		err = fmt.Errorf("%w: %s", errPermanent, resp.Status)
	}
	resp.Body.Close()
	return nil, err
}

// redact takes the address out of an error, for it may have a password.
func redact(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// first finds out what the file is like, and keeps the connection for reading.
func (w *Web) first() error {
	resp, err := w.get(0)
	if err != nil {
		return err
	}
	w.size, w.ranges = resp.ContentLength, false
	if resp.StatusCode == http.StatusPartialContent {
		begin, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || begin != 0 {
			resp.Body.Close()
			return fmt.Errorf("%w: Content-Range %q", errPermanent, resp.Header.Get("Content-Range"))
		}
		w.size, w.ranges = total, true
	}
	w.etag, w.date = validators(resp)
	w.open = append(w.open, &webBody{resp.Body, 0})
	return nil
}

// validators are what the server tells of the file's version. A weak ETag
// doesn't promise equal bytes.
func validators(r *http.Response) (etag, date string) {
	if etag = r.Header.Get("ETag"); strings.HasPrefix(etag, "W/") {
		etag = ""
	}
	return etag, r.Header.Get("Last-Modified")
}

// contentRange reads "bytes 0-99/1234".
func contentRange(s string) (begin, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	first, _, ok3 := strings.Cut(span, "-")
	begin, err := strconv.ParseInt(first, 10, 64)
	total, err2 := strconv.ParseInt(size, 10, 64)
	return begin, total, ok && ok2 && ok3 && err == nil && err2 == nil && begin >= 0 && total >= begin
}

// at returns a body that stands at off.
func (w *Web) at(off int64) (*webBody, error) {
	for i := len(w.open) - 1; i >= 0; i-- {
		b := w.open[i]
		if b.at > off || off-b.at > webSkip {
			continue
		}
		w.open = append(append(w.open[:i:i], w.open[i+1:]...), b)
		n, err := io.CopyN(io.Discard, b.body, off-b.at)
		if b.at += n; err != nil {
			w.drop(b)
			return nil, broken(err)
		}
		return b, nil
	}
	resp, err := w.get(off)
	if err != nil {
		return nil, err
	}
	if err := w.same(resp, off); err != nil {
		resp.Body.Close()
		return nil, err
	}
	b := &webBody{resp.Body, off}
	if len(w.open) >= webBodies {
		w.drop(w.open[0])
	}
	w.open = append(w.open, b)
	return b, nil
}

// same checks that an answer is of the file that was opened.
func (w *Web) same(resp *http.Response, off int64) error {
	etag, date := validators(resp)
	begin, total, ok := int64(0), resp.ContentLength, true
	if resp.StatusCode == http.StatusPartialContent {
		begin, total, ok = contentRange(resp.Header.Get("Content-Range"))
	}
	switch {
	case !ok || begin != off:
		return fmt.Errorf("%w: it can't give the file from byte %d on (%s)", errPermanent, off, resp.Status)
	case total != w.size || etag != w.etag || date != w.date:
		return fmt.Errorf("%w: the file has changed on the server", errPermanent)
	}
	return nil
}

func (w *Web) drop(b *webBody) {
	b.body.Close()
	for i := range w.open {
		if w.open[i] == b {
			w.open = append(w.open[:i:i], w.open[i+1:]...)
			return
		}
	}
}

// broken makes an end that came too early an error.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// retry does something until it works, is pointless, or has failed too often.
func (w *Web) retry(do func() error) error {
	pause := w.o.Pause
	for n := 0; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if errors.Is(err, errPermanent) || n >= w.o.Retries {
			return fmt.Errorf("cannot get %s: %w", w, err)
		}
		select {
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, 16*time.Second)
	}
}

// ReadAt implements io.ReaderAt.
func (w *Web) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.size {
		return 0, io.ErrUnexpectedEOF
	}
	var end error
	if left := w.size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	n := 0
	for n < len(p) {
		err := w.retry(func() error {
			b, err := w.at(off + int64(n))
			if err != nil {
				return err
			}
			m, err := b.body.Read(p[n:])
			n, b.at = n+m, b.at+int64(m)
			if m > 0 {
				if err != nil {
					w.drop(b)
				}
				return nil
			}
			if err != nil {
				w.drop(b)
				return broken(err)
			}
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, end
}

// Reader reads the file from its beginning to its end.
func (w *Web) Reader() io.Reader { return &webReader{w: w} }

type webReader struct {
	w  *Web
	at int64
}

func (r *webReader) Read(p []byte) (int, error) {
	w := r.w
	switch {
	case w.size >= 0 && r.at >= w.size:
		return 0, io.EOF
	case w.size >= 0:
		n, err := w.ReadAt(p[:min(int64(len(p)), w.size-r.at, 64<<10)], r.at)
		r.at += int64(n)
		return n, err
	case len(w.open) == 0:
		return 0, io.ErrUnexpectedEOF
	}
	// Nobody knows how long it is, so nobody can ask for the rest.
	b := w.open[len(w.open)-1]
	if b.at != r.at {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.body.Read(p)
	b.at, r.at = b.at+int64(n), r.at+int64(n)
	return n, err
}
