package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/netutil"

	"sanstick/appliance/status"
	"sanstick/appliance/task"
)

// Options says what a Server answers and where.
type Options struct {
	Log    *slog.Logger // nil discards
	Socket string       // "" is DefaultSocket
	// Status answers GET /v1/status. It is called from several goroutines at
	// the same time and must come back soon after its context ends.
	Status func(context.Context) (status.Snapshot, error)
	// Actions are what the daemon can be told to do.
	Actions []Action
}

// Server is the daemon's side, a task.
type Server struct {
	log    *slog.Logger
	socket string
	status func(context.Context) (status.Snapshot, error)
	acts   []Action
	ready  chan struct{}
}

var _ task.Task = (*Server)(nil)

// New makes a server; Run starts it.
func New(o Options) *Server {
	s := &Server{log: o.Log, socket: o.Socket, status: o.Status, acts: o.Actions, ready: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.socket == "" {
		s.socket = DefaultSocket
	}
	return s
}

func (s *Server) String() string { return "API at " + s.socket }

// Ready is closed once clients can connect.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then lets requests under way finish for a few
// seconds. It is called once. It fails at once if the socket cannot be made or
// another daemon answers on it.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(ctx, s.socket)
	if err != nil {
		return err
	}
	defer os.Remove(s.socket)

	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return work },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(l, maxConnections)) }()
	close(s.ready)

	select {
	case err := <-served:
		cancel()
		srv.Close()
		return fmt.Errorf("cannot serve: %w", err)
	case <-ctx.Done():
	}
	stop, cancelStop := context.WithTimeout(work, stopTimeout)
	defer cancelStop()
	if err := srv.Shutdown(stop); err != nil {
		s.log.Warn("Requests were cut off", "error", err)
		cancel()
		srv.Close()
	}
	<-served
	return nil
}

// A route is one question: its answer is sent as JSON.
type route struct {
	method, path string
	answer       func(ctx context.Context, r *http.Request) (any, error)
}

func (s *Server) routes() []route {
	return []route{
		{http.MethodGet, pathStatus, func(ctx context.Context, _ *http.Request) (any, error) { return s.status(ctx) }},
	}
}

// handler dispatches by the routes, and answers all else with an Error.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
			defer cancel()
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			body, err := rt.answer(ctx, r)
			if err != nil {
				s.refuse(w, err)
				return
			}
			s.send(w, http.StatusOK, body)
		})
		mux.HandleFunc(rt.path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", rt.method)
			s.send(w, http.StatusMethodNotAllowed, &Error{Message: rt.path + " does not take " + r.Method, Do: "use " + rt.method})
		})
	}
	for _, a := range s.acts {
		mux.HandleFunc(http.MethodPost+" "+pathDo+a.name, func(w http.ResponseWriter, r *http.Request) { a.serve(s, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.send(w, http.StatusNotFound, &Error{Message: fmt.Sprintf("there is no %.100q", r.URL.Path),
			Do: "use the sanctl that came with this version of the appliance"})
	})
	return mux
}

// refuse sends an error: as it is if it is an Error, else with advice.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if errors.Is(err, context.DeadlineExceeded) {
		code = http.StatusGatewayTimeout
	}
	s.send(w, code, asError(err))
}

// send writes a JSON answer.
func (s *Server) send(w http.ResponseWriter, code int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		s.log.Error("Cannot encode an answer", "error", err)
		code, data = http.StatusInternalServerError, []byte(`{"error":"cannot encode the answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(append(data, '\n')); err != nil {
		s.log.Debug("Cannot send an answer", "error", err)
	}
}
