package api

import "sanstick/appliance/status"

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
