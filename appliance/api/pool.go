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

// RepairPool repairs the metadata of a pool that can't be activated.
var RepairPool = Verb[RepairPoolRequest, RepairPoolAnswer]{"pool.repair"}

// RepairPoolRequest says which pool.
type RepairPoolRequest struct {
	Pool string `json:"pool"`
}

// RepairPoolAnswer says where the damaged metadata is.
type RepairPoolAnswer struct {
	Kept string `json:"kept"` // a logical volume in the pool's volume group
}
