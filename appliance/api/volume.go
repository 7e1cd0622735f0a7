package api

// A volume is named as in "golden", a snapshot as in "golden@monday". With
// "tank/" in front it is the one in that pool.

// SnapshotVolume makes a snapshot.
var SnapshotVolume = Verb[SnapshotVolumeRequest, NameAnswer]{"volume.snapshot"}

// SnapshotVolumeRequest says of what.
type SnapshotVolumeRequest struct {
	Volume string `json:"volume"`
	Name   string `json:"name,omitempty"` // what comes behind the "@"; empty: one of the time
}

// NameAnswer tells the name of what was made.
type NameAnswer struct {
	Name string `json:"name"`
}

// CloneVolume makes a volume that holds what another volume or a snapshot holds.
var CloneVolume = Verb[CloneVolumeRequest, NameAnswer]{"volume.clone"}

// CloneVolumeRequest says of what.
type CloneVolumeRequest struct {
	From string `json:"from"`
	Name string `json:"name"`
}

// RevertVolume makes a volume hold what its snapshot holds.
var RevertVolume = Verb[RevertVolumeRequest, KeptAnswer]{"volume.revert"}

// RevertVolumeRequest says to which snapshot.
type RevertVolumeRequest struct {
	Snapshot string `json:"snapshot"`
	Force    bool   `json:"force,omitempty"` // also if an initiator is logged in
}

// KeptAnswer tells the name of the snapshot that keeps what a volume was before.
type KeptAnswer struct {
	Kept string `json:"kept"`
}

// PromoteVolume makes a volume hold what another volume holds.
var PromoteVolume = Verb[PromoteVolumeRequest, KeptAnswer]{"volume.promote"}

// PromoteVolumeRequest says which.
type PromoteVolumeRequest struct {
	Clone  string `json:"clone"`
	Volume string `json:"volume"`
	Force  bool   `json:"force,omitempty"` // also if an initiator is logged in to Volume
}

// RenameVolume gives a volume another name.
var RenameVolume = Verb[RenameVolumeRequest, NameAnswer]{"volume.rename"}

// RenameVolumeRequest says which.
type RenameVolumeRequest struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// DeleteVolume puts a volume or a snapshot into the trash.
var DeleteVolume = Verb[DeleteVolumeRequest, NameAnswer]{"volume.delete"}

// DeleteVolumeRequest says which.
type DeleteVolumeRequest struct {
	Name      string `json:"name"`
	Snapshots bool   `json:"snapshots,omitempty"` // of a volume: also its snapshots
}

// RestoreVolume takes a volume or a snapshot out of the trash.
var RestoreVolume = Verb[RestoreVolumeRequest, NameAnswer]{"volume.restore"}

// RestoreVolumeRequest says which: by the name that it had, or its ID.
type RestoreVolumeRequest struct {
	Name string `json:"name"`
	As   string `json:"as,omitempty"` // empty: as it was called
}

// PurgeVolume removes for good what is in the trash.
var PurgeVolume = Verb[PurgeVolumeRequest, NameAnswer]{"volume.purge"}

// PurgeVolumeRequest says which: by the name that it had, or its ID.
type PurgeVolumeRequest struct {
	Name string `json:"name"`
}
