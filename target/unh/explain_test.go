package unh_test

import "slices"

// explanation is a reason for two targets to differ.
type explanation struct {
	why   string
	match func(d *difference) bool
}

// Sense codes, as KKAAQQ.
const (
	noSuchCommand = 0x052000
	lbaOutOfRange = 0x052100
	fieldInCDB    = 0x052400
	noSuchLUN     = 0x052500
	fieldInList   = 0x052600
	listLength    = 0x051a00
	fieldInUnit   = 0x050e03
	miscompare    = 0x0e1d00
)

// senses says whether they end with these sense codes; 0 is any.
func (d *difference) senses(ours, tgt uint32) bool {
	return (ours == 0 || d.ours.SenseCode() == ours) && (tgt == 0 || d.tgt.SenseCode() == tgt)
}

// good says whether both succeed.
func (d *difference) good() bool { return d.answered && d.ours.Status == 0 && d.tgt.Status == 0 }

// failed says whether ours ends with CHECK CONDITION and this sense code.
func (d *difference) failed(code uint32) bool {
	return d.answered && d.ours.Status == 2 && d.ours.SenseCode() == code
}

func (d *difference) is(ops ...byte) bool { return slices.Contains(ops, d.op) }

// action is one of an operation code with service actions.
func (d *difference) action(op byte, actions ...byte) bool {
	return d.op == op && slices.Contains(actions, d.cmd.CDB[1]&0x1f)
}

// expected is the expected data transfer length.
func (d *difference) expected() int { return max(d.cmd.In, len(d.cmd.Out)) }

// refusesBit says whether our sense data points at a bit of the CDB that is set
// (SPC-4 section 4.5.2.4.2).
func (d *difference) refusesBit() bool {
	s := d.ours.Sense
	if !d.failed(fieldInCDB) || len(s) < 18 || s[15]&0xc8 != 0xc8 {
		return false
	}
	at := int(s[16])<<8 | int(s[17])
	return at < len(d.cmd.CDB) && d.cmd.CDB[at]>>(s[15]&7)&1 == 1
}

// ends says whether our residual is what was expected less what has moved.
func (d *difference) ends() bool {
	switch moved := len(d.ours.Data); {
	case d.ours.Overflow:
		return d.cmd.In == 0 || moved == d.cmd.In
	case d.cmd.In > 0:
		return int(d.ours.Residual) == d.cmd.In-moved && d.ours.Underflow == (d.ours.Residual > 0)
	}
	return true
}

// blocks are the commands that move data by blocks.
var blocks = []byte{0x08, 0x0a, 0x28, 0x2a, 0x2e, 0x2f, 0x41, 0x88, 0x8a, 0x8b, 0x8e, 0x8f, 0x93, 0xa8, 0xaa, 0xae, 0xaf}

// explanations are tried in order.
var explanations = []explanation{
	{"tgt ends: it writes into an answer of no bytes, or reads data that hasn't come", func(d *difference) bool {
		return !d.answered && (d.is(0x1a, 0x5a) || d.is(0x41, 0x93) && len(d.cmd.Out) == 0)
	}},
	{"ours has no LUN 0, tgt a storage array controller; SAM-5 section 4.7.4 leaves that open", func(d *difference) bool {
		return d.cmd.LUN == 0 && (d.failed(noSuchLUN) || d.is(0x12, 0xa0, 0x03))
	}},
	{"a LUN that isn't there: ours says so whatever the command (SPC-4 section 6.6.3)", func(d *difference) bool {
		return d.cmd.LUN != 1 && d.failed(noSuchLUN)
	}},
	{"both fail alike; tgt sends bytes of its buffer, or counts no residual (RFC 7143 section 11.4.5: what was expected and didn't move)", func(d *difference) bool {
		return d.ours.Status != 0 && !d.status && !d.sense && len(d.ours.Data) == 0 && d.ends()
	}},
	{"a command that tgt doesn't have", func(d *difference) bool {
		return d.senses(0, noSuchCommand) && (d.is(0x89, 0x4c, 0x4d, 0x83, 0x84, 0x1c, 0x37, 0xb7, 0x9c, 0x56, 0x57, 0xa4))
	}},
	{"a service action that tgt doesn't have", func(d *difference) bool {
		return d.senses(0, fieldInCDB) && (d.action(0xa3, 0x0a, 0x0d, 0x0f) || d.action(0x5e, 3) || d.action(0x5f, 5, 7))
	}},
	{"a command that tgt says it hasn't in another way", func(d *difference) bool {
		return d.name == "any" && d.failed(noSuchCommand) && d.senses(0, fieldInCDB)
	}},
	{"PREVENT ALLOW MEDIUM REMOVAL is for removable media; tgt takes it for any", func(d *difference) bool {
		return d.failed(noSuchCommand) && d.is(0x1e)
	}},
	{"a bit that is reserved, or names what we don't do: ours refuses, tgt looks at few (SPC-4 section 4.2.1 allows both for reserved ones)", func(d *difference) bool {
		return d.refusesBit()
	}},
	{"READ, WRITE and others of no blocks right behind the last one are within the medium: LBA and length don't exceed it (SBC-3 section 5.11)", func(d *difference) bool {
		return d.ours.Status == 0 && d.senses(0, lbaOutOfRange) && len(d.ours.Data) == 0 && d.is(append(blocks, 0x34, 0x90)...)
	}},
	{"an LBA beyond the medium: tgt doesn't look (SBC-3 sections 5.22, 5.29)", func(d *difference) bool {
		return d.failed(lbaOutOfRange) && d.tgt.Status == 0 && d.is(0x35, 0x91, 0x2f, 0x8f, 0xaf)
	}},
	{"part of a block: ours refuses, tgt writes or compares it", func(d *difference) bool {
		return d.failed(fieldInUnit) && len(d.cmd.Out)%blockSize != 0 && d.is(blocks...)
	}},
	{"VERIFY of no blocks has nothing to compare: tgt compares what came", func(d *difference) bool {
		return d.ours.Status == 0 && d.senses(0, miscompare) && d.is(0x2f, 0x8f, 0xaf) && d.ours.Underflow && int(d.ours.Residual) == len(d.cmd.Out)
	}},
	{"VERIFY compares: tgt says GOOD without", func(d *difference) bool {
		return d.failed(miscompare) && d.tgt.Status == 0 && d.is(0x2f, 0x8f, 0xaf)
	}},
	{"data that isn't expected, or isn't used: tgt reports no residual (RFC 7143 section 11.4.5)", func(d *difference) bool {
		return d.good() && !d.data && d.ends() && (d.ours.Overflow || d.ours.Underflow) && d.tgt.Residual == 0 && d.is(blocks...)
	}},
	{"UNMAP: tgt says GOOD, with sense data, and takes no list", func(d *difference) bool {
		return d.is(0x42) && d.tgt.Status == 0 && d.senses(0, noSuchLUN)
	}},
	{"WRITE SAME: ours looks at the LBA and the CDB first, tgt at the length of the data", func(d *difference) bool {
		return d.is(0x41, 0x93) && (d.failed(lbaOutOfRange) || d.failed(fieldInUnit) || d.failed(fieldInCDB)) && (d.senses(0, listLength) || d.senses(0, 0x031100))
	}},
	{"an allocation length that is short, or expected data that is: tgt wants room for the whole; SPC-4 section 4.2.5.6 cuts the answer", func(d *difference) bool {
		return d.ours.Status == 0 && d.ends() && d.senses(0, fieldInCDB) && (d.is(0x12, 0x5a, 0x1a, 0xa0, 0xa3) || d.action(0x9e, 0x10, 0x12) || d.action(0x5e, 0, 1, 2))
	}},
	{"a parameter list of a wrong length: PARAMETER LIST LENGTH ERROR (SPC-4 sections 6.11, 6.16), tgt says INVALID FIELD IN CDB", func(d *difference) bool {
		return d.failed(listLength) && d.senses(0, fieldInCDB) && d.is(0x15, 0x55, 0x5f)
	}},
	{"what the units are: vendor, product, names, limits, versions", func(d *difference) bool {
		return d.good() && d.ends() && d.is(0x12)
	}},
	{"mode pages that only one has, and their values", func(d *difference) bool {
		return d.good() && d.ends() && d.is(0x1a, 0x5a)
	}},
	{"REPORT LUNS: tgt has LUN 0 too", func(d *difference) bool {
		return d.good() && d.ends() && d.is(0xa0)
	}},
	{"the commands that there are", func(d *difference) bool {
		return d.good() && d.ends() && d.action(0xa3, 0x0c)
	}},
	{"what reservations can do", func(d *difference) bool {
		return d.good() && d.ends() && d.action(0x5e, 2)
	}},
	{"RESERVE (6) and persistent reservations exclude each other (SPC-2 section 5.5.1, SPC-4 section 5.13.3); tgt keeps them apart", func(d *difference) bool {
		return d.answered && d.ours.Status == 0x18 && d.is(0x16, 0x17, 0x5e, 0x5f) && d.tgt.Status != 0x18
	}},
	{"a read of fewer bytes than READ CAPACITY (10) has: tgt sends what is in its buffer", func(d *difference) bool {
		return d.good() && d.is(0x25) && d.cmd.In < 8 && d.ends()
	}},
	{"REQUEST SENSE of less than there is, or of a LUN that isn't there: tgt reports no residual, or no sense", func(d *difference) bool {
		return d.good() && d.is(0x03) && d.ends() && (d.cmd.In < 18 || d.cmd.LUN != 1)
	}},
	{"INQUIRY for a page of a LUN that isn't there: there are none (SPC-4 section 6.6.1), tgt has them", func(d *difference) bool {
		return d.is(0x12) && d.cmd.LUN != 1 && d.cmd.CDB[1]&1 == 1 && d.failed(fieldInCDB)
	}},
	{"WRITE SAME of no blocks: WSNZ says that ours has no such thing (SBC-3 section 6.5.3)", func(d *difference) bool {
		return d.is(0x41, 0x93) && d.failed(fieldInCDB) && d.tgt.Status == 0
	}},
	{"WRITE SAME with NDOB has no data: ours refuses some; tgt, which has no NDOB, wants a block", func(d *difference) bool {
		return d.is(0x93) && d.cmd.CDB[1]&1 == 1 && (d.failed(fieldInUnit) && d.ours.Underflow ||
			d.ours.Status == 0 && (d.senses(0, listLength) || d.senses(0, 0x031100)))
	}},
	{"NACA in a command that neither has", func(d *difference) bool {
		return d.failed(noSuchCommand) && d.senses(0, fieldInCDB)
	}},
	{"a parameter list of which not all comes: ours says so, tgt takes what is in its buffer", func(d *difference) bool {
		return d.failed(listLength) && d.ours.Overflow && d.is(0x15, 0x55)
	}},
	{"two errors at once, of which each tells another", func(d *difference) bool {
		return d.ours.Status == 2 && d.tgt.Status == 2 && (d.action(0x9e, 0x12) && d.failed(lbaOutOfRange) && d.senses(0, fieldInCDB) ||
			d.is(0x41, 0x93) && d.failed(fieldInCDB) && d.senses(0, lbaOutOfRange) ||
			d.is(0x35, 0x91) && d.failed(lbaOutOfRange) && d.senses(0, fieldInCDB) ||
			d.is(0x15, 0x55) && d.failed(fieldInList) && d.senses(0, listLength))
	}},
	{"UNMAP of an LBA behind the last: tgt has another sense code for it", func(d *difference) bool {
		return d.is(0x42) && d.failed(lbaOutOfRange) && d.senses(0, noSuchLUN)
	}},
	{"no parameter list is no error (SPC-4 sections 6.11, 6.42)", func(d *difference) bool {
		return d.is(0x15, 0x55, 0x1d) && d.ours.Status == 0 && d.senses(0, fieldInCDB) && d.expected() == 0
	}},
	{"too little data to compare or to or with: ours refuses, tgt says GOOD without all of it", func(d *difference) bool {
		return d.failed(fieldInUnit) && d.ours.Overflow && d.tgt.Status == 0 && d.is(0x8b, 0x2f, 0xaf, 0x8f)
	}},
	{"more data than the parameter list: tgt reports no residual", func(d *difference) bool {
		return d.good() && d.is(0x5f) && d.ours.Underflow && d.tgt.Residual == 0
	}},
	{"the last block, with more expected: tgt goes on behind the end", func(d *difference) bool {
		return (d.ours.Status == 0 || d.failed(miscompare)) && d.ours.Underflow && d.senses(0, 0x031100) && d.is(blocks...)
	}},
	{"IMMED of SYNCHRONIZE CACHE, which tgt doesn't have", func(d *difference) bool {
		return d.ours.Status == 0 && d.is(0x35, 0x91) && d.cmd.CDB[1]&2 != 0 && d.senses(0, fieldInCDB)
	}},
	{"subpages of mode pages that aren't there: tgt ignores the subpage code", func(d *difference) bool {
		return d.failed(fieldInCDB) && d.is(0x1a, 0x5a) && d.cmd.CDB[3] != 0
	}},
	{"WRITE SAME with UNMAP and a block that isn't zero: tgt unmaps, and zeroes are read (SBC-3 section 5.43: only if what was sent is read back)", func(d *difference) bool {
		return d.good() && d.data && d.is(0x41, 0x93) && d.cmd.CDB[1]&8 != 0 && len(d.cmd.Out) >= blockSize &&
			string(d.ours.Data) == string(d.cmd.Out[:blockSize]) && string(d.tgt.Data) == string(make([]byte, blockSize))
	}},
	{"WRITE SAME with too little data, or none: ours refuses", func(d *difference) bool {
		return d.failed(fieldInUnit) && d.ours.Overflow && d.is(0x41, 0x93) && d.tgt.Status == 0
	}},
	{"GET LBA STATUS of an LBA of more than 32 bits: tgt loses the upper ones", func(d *difference) bool {
		return d.action(0x9e, 0x12) && d.failed(lbaOutOfRange) && d.tgt.Status == 0 && lbaOf(d.cmd.CDB)>>32 != 0
	}},
	{"PREEMPT with a key of zero, which no registrant has: INVALID FIELD IN PARAMETER LIST (SPC-4 section 5.13.11.4.3)", func(d *difference) bool {
		return d.action(0x5f, 4) && d.failed(fieldInList) && d.tgt.Status == 0 && len(d.cmd.Out) >= 16 && string(d.cmd.Out[8:16]) == string(make([]byte, 8))
	}},
	{"no parameter list is no error, and what is expected is residual", func(d *difference) bool {
		return d.is(0x15, 0x55, 0x1d) && d.ours.Status == 0 && d.ours.Underflow && d.tgt.Residual == 0
	}},
	{"an UNMAP list that is cut: ours does nothing of it, tgt does what is there", func(d *difference) bool {
		return d.is(0x42) && d.failed(listLength)
	}},
	{"mode page 00, which is vendor specific: tgt has an empty one", func(d *difference) bool {
		return d.is(0x1a, 0x5a) && d.failed(fieldInCDB) && d.cmd.CDB[2]&0x3f == 0 && d.tgt.Status == 0
	}},
	{"REPORT LUNS with a selection that is reserved: tgt doesn't look", func(d *difference) bool {
		return d.is(0xa0) && d.failed(fieldInCDB) && d.cmd.CDB[2] != 0 && d.tgt.Status == 0
	}},
	{"REQUEST SENSE with DESC: tgt doesn't look", func(d *difference) bool {
		return d.good() && d.ends() && d.is(0x03) && d.cmd.CDB[1]&1 == 1
	}},
	{"a VPD page that ours doesn't have: tgt answers by the lower bits of another", func(d *difference) bool {
		return d.is(0x12) && d.failed(fieldInCDB) && d.cmd.CDB[1]&1 == 1 && d.tgt.Status == 0 && d.cmd.CDB[2]&0x80 == 0
	}},
}
