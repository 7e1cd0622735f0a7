package api

// WipeDisk erases a disk that is in no use, or says what is on it.
var WipeDisk = Verb[WipeDiskRequest, WipeDiskAnswer]{"disk.wipe"}

// WipeDiskRequest asks about a disk first, without Confirmed, and then for its
// wiping, with what the first answer held.
type WipeDiskRequest struct {
	Disk      string   `json:"disk"`                // serial number or WWN
	Confirmed []string `json:"confirmed,omitempty"` // Holds of the first answer
	Wipe      bool     `json:"wipe,omitempty"`      // false only asks
	Zero      bool     `json:"zero,omitempty"`      // overwrite all of it
}

// WipeDiskAnswer says what was there, and whether it is gone.
type WipeDiskAnswer struct {
	Disk  string   `json:"disk"`  // serial number, or what it is called without
	Name  string   `json:"name"`  // today's kernel name
	Model string   `json:"model"` // as the disk tells it
	Size  int64    `json:"size"`  // bytes
	Holds []string `json:"holds"` // what is on it, an entry for each thing
	Wiped bool     `json:"wiped"`
}
