package api

// AdoptPool takes a pool into the configuration that is here and isn't used.
var AdoptPool = Verb[AdoptPoolRequest, AdoptPoolAnswer]{"pool.adopt"}

// AdoptPoolRequest says which pool.
type AdoptPoolRequest struct {
	Pool  string `json:"pool"`            // name, or UUID if several have that name
	As    string `json:"as,omitempty"`    // the name that it gets; empty: it keeps its own
	Check bool   `json:"check,omitempty"` // only say what would be added to the configuration
}

// AdoptPoolAnswer says what was done.
type AdoptPoolAnswer struct {
	Added string `json:"added"` // to the configuration
	ApplyConfigAnswer
}
