package api

// BeginImport finds or makes a volume and has it ready for Import. It isn't
// served until the import is done.
var BeginImport = Verb[ImportRequest, BeginImportAnswer]{"volume.import.begin"}

// Import brings a disk's content into a volume: the body is a stream of package
// stream, from the place on that BeginImport told.
var Import = Upload[ImportRequest, ImportAnswer]{"volume.import"}

// ImportURL brings the disk image at an http or https address into a volume.
var ImportURL = Verb[ImportRequest, ImportAnswer]{"volume.import.url"}

// Export gives the content of a volume or snapshot, as a stream of package
// stream.
var Export = Download[ExportRequest, ExportAnswer]{"volume.export"}

// Digests gives a digest for each piece of a volume or snapshot: see package
// image.
var Digests = Download[ExportRequest, ExportAnswer]{"volume.digests"}

// VerifyURL compares a volume or snapshot with the disk image at an http or https
// address.
var VerifyURL = Verb[VerifyRequest, VerifyAnswer]{"volume.verify.url"}

// VerifyRequest says what to compare with what.
type VerifyRequest struct {
	Volume string `json:"volume"` // "vm1", "vm1@monday", with a pool in front if there are several
	URL    string `json:"url"`
	Format string `json:"format,omitempty"` // empty: by what is there
}

// VerifyAnswer says what was found.
type VerifyAnswer struct {
	Volume      string       `json:"volume"`
	Bytes       int64        `json:"bytes"`     // compared
	Differing   int64        `json:"differing"` // of these, in pieces of 64 KiB
	Differences []Difference `json:"differences"`
	// Moved says that only the backup of the GPT lies elsewhere: at the end of
	// the volume, where an import moves it. That is no difference.
	Moved bool `json:"moved,omitempty"`
}

// A Difference is a range in which volume and image differ, in bytes.
type Difference struct {
	Off int64 `json:"off"`
	Len int64 `json:"len"`
}

// MostDifferences is how many are told.
const MostDifferences = 10

// ImportRequest says what to bring into which volume.
type ImportRequest struct {
	Volume    string `json:"volume"`         // "vm1", or "tank/vm1"
	Pool      string `json:"pool,omitempty"` // for a new volume, if there are several pools
	Size      int64  `json:"size"`           // of the disk, in bytes; -1 if nobody knows, 0 (ImportURL only) if that is to be found out
	Overwrite bool   `json:"overwrite,omitempty"`
	Restart   bool   `json:"restart,omitempty"`

	Source string `json:"source,omitempty"` // 16 hexadecimal digits that stand for the content; not for ImportURL
	From   string `json:"from,omitempty"`   // UUID of the snapshot that the stream builds on, if it isn't a full one

	URL    string `json:"url,omitempty"`    // for ImportURL
	Format string `json:"format,omitempty"` // for ImportURL; empty: by what is there
}

// BeginImportAnswer says where to begin.
type BeginImportAnswer struct {
	Size  int64 `json:"size"`  // of the volume
	Start int64 `json:"start"` // what is before is there already
}

// ImportAnswer says what is there now.
type ImportAnswer struct {
	Volume  string   `json:"volume"`
	Pool    string   `json:"pool"`
	Size    int64    `json:"size"`             // of the volume
	Disk    int64    `json:"disk"`             // bytes of the disk that was imported
	Format  string   `json:"format,omitempty"` // that was found, with ImportURL
	Resumed int64    `json:"resumed,omitempty"`
	Kept    string   `json:"kept,omitempty"` // the snapshot that changes can build on
	Notes   []string `json:"notes,omitempty"`
}

// ExportRequest says what to give.
type ExportRequest struct {
	Volume string `json:"volume"`          // "vm1", "vm1@monday", with a pool in front if there are several
	Since  string `json:"since,omitempty"` // "sunday": only what differs from that snapshot
}

// ExportAnswer says what was given.
type ExportAnswer struct {
	Volume string `json:"volume"`
	Size   int64  `json:"size"`
	Live   bool   `json:"live,omitempty"` // it may have changed meanwhile: thick volumes have no snapshots
}
