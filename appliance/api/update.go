package api

// Update puts another version into the slot of the stick that doesn't run, and
// restarts the machine with it, on trial. The stream is what imagebuild bundle
// made.
var Update = Upload[UpdateRequest, UpdateAnswer]{"update"}

// UpdateURL does the same with what is at an http or https address.
var UpdateURL = Verb[UpdateRequest, UpdateAnswer]{"update.url"}

// RollbackUpdate goes to the version in the other slot, on trial as well; from
// a version that is on trial itself, it goes back.
var RollbackUpdate = Verb[UpdateRequest, UpdateAnswer]{"update.rollback"}

// DismissUpdate forgets an update that failed.
var DismissUpdate = Verb[UpdateRequest, UpdateAnswer]{"update.dismiss"}

// UpdateRequest says what is wanted.
type UpdateRequest struct {
	URL        string `json:"url,omitempty"`         // for UpdateURL
	AllowOlder bool   `json:"allow_older,omitempty"` // also a version older than the one that runs
	Later      bool   `json:"later,omitempty"`       // don't restart; the next start tries it
	Firmware   bool   `json:"firmware,omitempty"`    // restart by way of the firmware, not by kexec
}

// UpdateAnswer says what comes now.
type UpdateAnswer struct {
	Version    string `json:"version,omitempty"`
	Slot       string `json:"slot,omitempty"`
	Restarting bool   `json:"restarting,omitempty"`
	Direct     bool   `json:"direct,omitempty"` // without the firmware, by kexec
	Why        string `json:"why,omitempty"`    // why not
}
