package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Call has the daemon do it, and waits. progress may be nil; it is called by
// this goroutine. An error that the daemon sent is an *Error.
func (v Verb[Q, A]) Call(ctx context.Context, c *Client, q Q, progress func(Progress)) (a A, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return a, fmt.Errorf("cannot encode the request: %w", err)
	}
	return a, c.do(ctx, pathDo+v.Name, bytes.NewReader(body), progress, &a)
}

// Call sends body. It may return before body is read to its end; body is not
// used any more then, unless a Read of it is under way.
func (v Upload[Q, A]) Call(ctx context.Context, c *Client, q Q, body io.Reader, progress func(Progress)) (a A, err error) {
	path, err := withQuery(v.Name, q)
	if err != nil {
		return a, err
	}
	return a, c.do(ctx, path, io.NopCloser(body), progress, &a)
}

// Call writes the stream to w. Without an error all of it has come.
func (v Download[Q, A]) Call(ctx context.Context, c *Client, q Q, w io.Writer) (a A, err error) {
	path, err := withQuery(v.Name, q)
	if err != nil {
		return a, err
	}
	resp, err := c.post(ctx, path, nil)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return a, fmt.Errorf("cannot receive the stream: %w", err)
	}
	text, err := url.QueryUnescape(resp.Trailer.Get(lastTrailer))
	var last line
	if err != nil || json.Unmarshal([]byte(text), &last) != nil {
		return a, errCut
	}
	return a, last.decode(&a)
}

// errCut says that the daemon has ended, or the connection.
var errCut = &Error{Message: "the appliance daemon broke off", Do: "try again; `sanctl status` tells how things are"}

func withQuery(name string, q any) (string, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("cannot encode the request: %w", err)
	}
	return pathDo + name + "?q=" + url.QueryEscape(string(text)), nil
}

// do posts body, reads the lines of the answer and decodes the last one into a.
func (c *Client) do(ctx context.Context, path string, body io.Reader, progress func(Progress), a any) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(silence, func() {
		cancel(&Error{Message: fmt.Sprintf("the appliance daemon hasn't said anything for %v", silence), Do: "`sanctl status` tells how things are"})
	})
	defer alive.Stop()
	resp, err := c.post(ctx, path, body)
	if err != nil {
		return because(ctx, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		alive.Reset(silence)
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("cannot decode the answer: %w", err)
		}
		if l.Progress == nil {
			return l.decode(a)
		}
		if progress != nil {
			progress(*l.Progress)
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() != nil {
		return because(ctx, err)
	}
	return errCut
}

func (l line) decode(a any) error {
	if l.Error != nil {
		return l.Error
	}
	if err := json.Unmarshal(l.Answer, a); err != nil {
		return fmt.Errorf("cannot decode the answer: %w", err)
	}
	return nil
}

// because returns why the context ended, if it did, and else err.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// post sends a request without a limit in time and returns the answer if it is
// a success.
func (c *Client) post(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://appliance"+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot make a request: %w", err)
	}
	patient := http.Client{Transport: c.http.Transport}
	resp, err := patient.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

// readError reads the Error of an answer that is no success.
func readError(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return errors.Join(&Error{Message: "the daemon answered " + resp.Status}, err)
	}
	e := new(Error)
	if json.Unmarshal(data, e) != nil || e.Message == "" {
		e = &Error{Message: "the daemon answered " + resp.Status}
	}
	return e
}
