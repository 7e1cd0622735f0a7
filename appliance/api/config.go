package api

import (
	"time"

	"sanstick/appliance/status"
)

// ReadConfig gives the user's configuration file as it is.
var ReadConfig = Download[ReadConfigRequest, ReadConfigAnswer]{"config.read"}

// ReadConfigRequest asks for the file.
type ReadConfigRequest struct{}

// ReadConfigAnswer says where it lies.
type ReadConfigAnswer struct {
	Path string `json:"path"`
}

// ApplyConfig goes over to a configuration: that of the file on the stick as it
// is now, or one that is sent.
var ApplyConfig = Upload[ApplyConfigRequest, ApplyConfigAnswer]{"config.apply"}

// ApplyConfigRequest says what to apply.
type ApplyConfigRequest struct {
	Replace bool `json:"replace,omitempty"` // the stream is to replace the file; else it is empty
	Check   bool `json:"check,omitempty"`   // only say what would change
	Force   bool `json:"force,omitempty"`   // also if initiators are interrupted
}

// ApplyConfigAnswer says what has changed, or would.
type ApplyConfigAnswer struct {
	Changes    []string         `json:"changes"`              // a line each
	Later      []string         `json:"later,omitempty"`      // those of them that take effect at the next start
	Interrupts []string         `json:"interrupts,omitempty"` // whose work that interrupts
	Warnings   []string         `json:"warnings,omitempty"`
	Problems   []status.Problem `json:"problems,omitempty"` // of the appliance, afterwards
}

// AdoptConfig goes on with the configuration that the data disks keep: what was
// on a stick that died is written to this one, and the appliance starts again
// with it.
var AdoptConfig = Verb[AdoptConfigRequest, AdoptConfigAnswer]{"config.adopt"}

// AdoptConfigRequest says which one.
type AdoptConfigRequest struct {
	From  string `json:"from,omitempty"`  // host name or ID of the appliance, or a disk that keeps it; empty: the only one
	Check bool   `json:"check,omitempty"` // only say what is there
	Force bool   `json:"force,omitempty"` // although this stick has a configuration, or a disk is missing or doesn't answer
}

// AdoptConfigAnswer says what is kept, or what was adopted.
type AdoptConfigAnswer struct {
	Kept   []KeptConfig `json:"kept"` // with Check: all; otherwise the one that was adopted
	Config string       `json:"config,omitempty"`
}

// A KeptConfig is a configuration that data disks keep.
type KeptConfig struct {
	Appliance string    `json:"appliance"` // its ID
	Hostname  string    `json:"hostname"`
	Time      time.Time `json:"time"` // when it was written, by that appliance's clock
	Disks     []string  `json:"disks"`
	Pools     []string  `json:"pools"` // that these disks belong to
}
