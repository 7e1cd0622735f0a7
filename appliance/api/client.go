package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"sanstick/appliance/status"
)

// Client asks a daemon. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon that listens on socket; "" is
// DefaultSocket. It connects with the first question.
func NewClient(socket string) *Client {
	if socket == "" {
		socket = DefaultSocket
	}
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{
		Timeout: workTimeout + 10*time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", socket)
			},
			MaxResponseHeaderBytes: maxHeader,
			IdleConnTimeout:        idleTimeout / 2,
			MaxIdleConns:           1,
		},
	}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the state of the appliance. An error that the daemon sent,
// or that means that it is not running, is an *Error.
func (c *Client) Status(ctx context.Context) (status.Snapshot, error) {
	var s status.Snapshot
	err := c.get(ctx, pathStatus, &s)
	return s, err
}

// get asks for path and decodes the answer into body.
func (c *Client) get(ctx context.Context, path string, body any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://appliance"+path, nil)
	if err != nil {
		return fmt.Errorf("cannot make a request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return readError(resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("cannot read the answer: it has more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(data, body); err != nil {
		return fmt.Errorf("cannot decode the answer: %w", err)
	}
	return nil
}

// explain turns the errors of connecting into what a person can use.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Message: "the appliance daemon is not running: nothing answers at " + c.socket,
			Do: "on an appliance it comes back within seconds, so try again and look at /run/log/appliance.log; elsewhere give the right --socket"}
	case errors.Is(err, os.ErrPermission):
		return &Error{Message: "no permission to use " + c.socket, Do: "become root"}
	}
	return fmt.Errorf("cannot ask the appliance daemon: %w", err)
}
