// Package api is how the appliance is asked and told: HTTP with JSON bodies
// over a unix socket that only root can open. It has the server, which the
// daemon runs as a task, and the client, which sanctl and the console use.
//
//	GET  /v1/status     a status.Snapshot
//	POST /v1/do/NAME    does something: see Verb, Upload and Download
//
// Anything else than a 2xx answer has an Error as its body. The package does
// not know where the answers come from: they are functions in Options.
package api

import "time"

// DefaultSocket is where the daemon listens on an appliance.
const DefaultSocket = "/run/sanstick/api.sock"

// Bounds on what either side takes from the other.
const (
	maxHeader      = 8 << 10
	maxBody        = 64 << 10 // of a request
	maxAnswer      = 16 << 20
	maxConnections = 32
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	workTimeout    = 20 * time.Second // for making an answer
	writeTimeout   = 30 * time.Second
	idleTimeout    = time.Minute
	stopTimeout    = 5 * time.Second // for requests under way at the end

	streamTimeout = 30 * time.Second       // without a byte from or to a client
	reportPeriod  = 500 * time.Millisecond // between two lines of an answer
	signOfLife    = 10                     // such periods, when there is nothing to say
	silence       = 30 * time.Second       // of the daemon, until a client gives up
)

// Where things are asked and told.
const (
	pathStatus = "/v1/status"
	pathDo     = "/v1/do/"
)

// An Error is the body of an answer that is not a success, and what a Client
// returns for it.
type Error struct {
	Message string `json:"error"`        // what is wrong
	Do      string `json:"do,omitempty"` // what a person can do about it
}

// Error gives both sentences.
func (e *Error) Error() string {
	if e.Do == "" {
		return e.Message
	}
	return e.Message + "; " + e.Do
}
