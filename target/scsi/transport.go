package scsi

// Refuse returns the result of a task that the transport ends by CHECK
// CONDITION without running it, such as one whose data came wrong: sense key,
// additional sense code and its qualifier (SPC-4 annex F), in the format that
// the unit uses. The task is for Discard then.
func (t *Task) Refuse(key, asc, ascq byte) Result {
	return t.check(sense{key: senseKey(key), code: code(asc)<<8 | code(ascq)})
}
