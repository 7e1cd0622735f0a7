package api

// Hardware makes a report of the machine's devices, which imagebuild hardware
// reads.
var Hardware = Verb[HardwareRequest, HardwareAnswer]{"hardware"}

// HardwareRequest asks for it.
type HardwareRequest struct {
	Save bool `json:"save,omitempty"` // onto the stick, too
}

// HardwareAnswer is the report.
type HardwareAnswer struct {
	Report string `json:"report"`
	File   string `json:"file,omitempty"` // where it was saved
}
