package api

// ReplaceDisk puts a blank disk in the place of a pool's.
var ReplaceDisk = Verb[ReplaceDiskRequest, ReplaceDiskAnswer]{"disk.replace"}

// ReplaceDiskRequest names both disks by serial number or WWN.
type ReplaceDiskRequest struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// ReplaceDiskAnswer says which pool is being rebuilt.
type ReplaceDiskAnswer struct {
	Pool string `json:"pool"`
}

// AcceptReservations has what is known of a pool's persistent reservations count,
// though it may not be the newest.
var AcceptReservations = Verb[AcceptReservationsRequest, AcceptReservationsAnswer]{"pool.reservations"}

// AcceptReservationsRequest names the pool.
type AcceptReservationsRequest struct {
	Pool string `json:"pool"`
}

// AcceptReservationsAnswer says that its volumes are served.
type AcceptReservationsAnswer struct{}

// ScrubPool starts to compare the copies of a pool.
var ScrubPool = Verb[ScrubPoolRequest, ScrubPoolAnswer]{"pool.scrub"}

// ScrubPoolRequest names the pool.
type ScrubPoolRequest struct {
	Pool string `json:"pool"`
}

// ScrubPoolAnswer says that it has begun.
type ScrubPoolAnswer struct{}
