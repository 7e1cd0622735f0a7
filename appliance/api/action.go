package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// A Verb is something that the daemon does when it is told to: its name, and
// the types of what it is asked (Q) and of what it answers (A), both plain data
// in JSON. Server and client use the same value.
//
// It is a POST to /v1/do/NAME with Q as the body. The answer is a line of JSON
// for each report, an {"answer": A} or {"error": Error} the last of them; at
// least one line comes every few seconds. An error before the first line is an
// HTTP error with an Error as its body.
type Verb[Q, A any] struct{ Name string }

// An Upload is a Verb that takes a stream of bytes. Q is in the address, as
// ?q=JSON, and the body is the stream.
type Upload[Q, A any] struct{ Name string }

// A Download is a Verb that gives a stream of bytes. Q is in the address. The
// answer's body is the stream; the trailer X-Sanstick-Last holds A or an Error.
// A stream without it was cut off.
type Download[Q, A any] struct{ Name string }

// Progress is how far something is. It is sent twice a second at most.
type Progress struct {
	What  string `json:"what,omitempty"`  // what is being done, in a few words
	Done  int64  `json:"done,omitempty"`  // bytes
	Total int64  `json:"total,omitempty"` // bytes; 0 if nobody knows
}

// An Action is a verb with what does it.
type Action struct {
	name  string
	serve func(s *Server, w http.ResponseWriter, r *http.Request)
}

// Handle makes an Action. do is called from several goroutines at the same time.
// Its context ends when the client goes away or the daemon ends; a change that
// must not stop halfway ignores that.
func (v Verb[Q, A]) Handle(do func(ctx context.Context, q Q, progress func(Progress)) (A, error)) Action {
	return Action{v.Name, func(s *Server, w http.ResponseWriter, r *http.Request) {
		var q Q
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil {
			s.refuse(w, &Error{Message: "cannot decode the request: " + err.Error(), Do: "use the sanctl that came with this version of the appliance"})
			return
		}
		s.report(w, r, func(ctx context.Context, progress func(Progress)) (any, error) { return do(ctx, q, progress) })
	}}
}

// Handle makes an Action whose body is what the client sends. It need not be
// read to its end.
func (v Upload[Q, A]) Handle(do func(ctx context.Context, q Q, body io.Reader, progress func(Progress)) (A, error)) Action {
	return Action{v.Name, func(s *Server, w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := decodeQuery(r, &q); err != nil {
			s.refuse(w, err)
			return
		}
		// The answer's first lines are sent while the body still comes.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			s.refuse(w, err)
			return
		}
		// A body that ends after the answer, and another request behind it, is what
		// package http panics at in full duplex.
		w.Header().Set("Connection", "close")
		body := &untimed{r: r.Body, rc: http.NewResponseController(w)}
		s.report(w, r, func(ctx context.Context, progress func(Progress)) (any, error) { return do(ctx, q, body, progress) })
	}}
}

// Handle makes an Action that writes a stream.
func (v Download[Q, A]) Handle(do func(ctx context.Context, q Q, w io.Writer) (A, error)) Action {
	return Action{v.Name, func(s *Server, w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := decodeQuery(r, &q); err != nil {
			s.refuse(w, err)
			return
		}
		w.Header().Set("Trailer", lastTrailer)
		out := &stream{w: w, rc: http.NewResponseController(w)}
		_ = out.rc.SetWriteDeadline(time.Time{}) // until the first byte
		answer, err := do(r.Context(), q, out)
		if err != nil && !out.begun {
			w.Header().Del("Trailer")
			s.refuse(w, err)
			return
		}
		last := line{Error: asError(err)}
		if err == nil {
			last.Answer, err = json.Marshal(answer)
		}
		text, err2 := json.Marshal(last)
		if err = errors.Join(err, err2); last.Error == nil && err != nil {
			s.log.Error("Cannot encode an answer", "error", err)
			return // without its trailer the stream counts as cut off
		}
		out.begin()
		w.Header().Set(lastTrailer, url.QueryEscape(string(text)))
	}}
}

// lastTrailer is the HTTP trailer with a download's last word.
const lastTrailer = "X-Sanstick-Last"

// line is one line of an answer.
type line struct {
	Progress *Progress       `json:"progress,omitempty"`
	Answer   json.RawMessage `json:"answer,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

func decodeQuery(r *http.Request, q any) error {
	if err := json.Unmarshal([]byte(r.URL.Query().Get("q")), q); err != nil {
		return &Error{Message: "cannot decode the request: " + err.Error(), Do: "use the sanctl that came with this version of the appliance"}
	}
	return nil
}

// asError gives what is sent for an error; nil for none.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Message: err.Error(), Do: "try again; if it stays, look at /run/log/appliance.log"}
	}
	return e
}

// report runs do and sends what it reports, and a sign of life besides.
func (s *Server) report(w http.ResponseWriter, r *http.Request, do func(context.Context, func(Progress)) (any, error)) {
	out := &stream{w: w, rc: http.NewResponseController(w)}
	_ = out.rc.SetReadDeadline(time.Time{})
	var mu sync.Mutex
	var latest Progress
	fresh := false
	progress := func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		latest, fresh = p, true
	}
	type result struct {
		answer any
		err    error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		a, err := do(ctx, progress)
		done <- result{a, err}
	}()
	tick := time.NewTicker(reportPeriod)
	defer tick.Stop()
	quiet := 0
	for {
		select {
		case res := <-done:
			switch {
			case res.err != nil && !out.begun:
				s.refuse(w, res.err)
			case res.err != nil:
				s.line(out, line{Error: asError(res.err)})
			default:
				data, err := json.Marshal(res.answer)
				s.line(out, line{Answer: data, Error: asError(err)})
			}
			return
		case <-tick.C:
		}
		mu.Lock()
		p, send := latest, fresh
		fresh = false
		mu.Unlock()
		if quiet++; !send && quiet < signOfLife {
			continue
		}
		quiet = 0
		if !s.line(out, line{Progress: &p}) {
			cancel() // the client has gone; wait for do to end
			<-done
			return
		}
	}
}

// line sends one line of an answer, and tells whether the client is there.
func (s *Server) line(out *stream, l line) bool {
	data, err := json.Marshal(l)
	if err == nil {
		if !out.begun {
			out.w.Header().Set("Content-Type", "application/x-ndjson")
		}
		_, err = out.Write(append(data, '\n'))
	}
	if err != nil {
		s.log.Debug("Cannot send an answer", "error", err)
	}
	return err == nil
}

// stream writes to a client for as long as that takes something now and then.
type stream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func (s *stream) begin() {
	if !s.begun {
		s.begun = true
		s.w.WriteHeader(http.StatusOK)
	}
}

func (s *stream) Write(p []byte) (int, error) {
	s.begin()
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamTimeout))
	n, err := s.w.Write(p)
	if err == nil {
		err = s.rc.Flush()
	}
	if err != nil {
		return n, fmt.Errorf("cannot send to the client: %w", err)
	}
	return n, nil
}

// untimed reads a body for as long as something comes now and then.
type untimed struct {
	r  io.Reader
	rc *http.ResponseController
}

func (u *untimed) Read(p []byte) (int, error) {
	_ = u.rc.SetReadDeadline(time.Now().Add(streamTimeout))
	return u.r.Read(p)
}
