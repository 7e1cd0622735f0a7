package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// skip is a reason to skip that is fine.
type skip struct {
	tests    string // SUITE.TEST, with * for any characters
	profiles string // letters of profiles
	says     string // what the tool says
	why      string
}

// skips is everything that may be skipped. What isn't here fails the run, and
// so does what is here and isn't skipped any more, on any of its profiles.
var skips = []skip{
	{"NoMedia.*", "ABCDE", "LUN is not removable. Skipping test.", fixed},
	{"PreventAllow.*", "ABCDE", "Logical unit is not removable. Skipping test.", fixed},
	{"StartStopUnit.*", "ABCDE", "LUN is not removable. Skipping test.", fixed},
	{"StartStopUnit.Simple", "ABCDE", "Media is not removable.", fixed},
	{"ReadOnly.*", "ABCDF", "Logical unit is not write-protected. Skipping test.", "it can be written; E can't"},
	{"*", "B", "Logical unit is fully provisioned. Skipping test", "it is thick: there is no UNMAP"},
	{"Unmap.VPD", "B", "UNMAP is not implemented.", "it is thick"},
	{"Sanitize.[BR]*", "B", "SANITIZE BLOCK_ERASE is not implemented according to REPORT_SUPPORTED_OPCODES.", "it is thick: nothing can be erased, only overwritten"},
	{"*", "AC", "LBPPB < 2. Skipping test", "a physical block has one logical block; B, D and F have more"},
	{"*.BeyondEol", "D", nothing, "no LBA of 32 bits is beyond the end of 3 TiB"},
	{"*.ZeroBlocks", "D", nothing, "no LBA of 32 bits is beyond the end of 3 TiB"},
	{"Verify1[02].ZeroBlocks", "D", notRun, "the tool cuts an LBA beyond the end to 32 bits, and that one exists"},
	{"Sanitize.*", "D", "--allow-sanitize flag is not set. Skipping test.", "overwriting 3 TiB takes too long"},
	{"GetLBAStatus.UnmapSingle", "DF", notRun, "where a physical block has several logical ones, the tool wants the status of another LBA than it asks for"},
	{"ProutReserve.Access*", "C", notRun, "the tool writes 512 bytes and calls them a block"},

	{"WriteSame10.ZeroBlocks", "ABCEF", "WRITESAME10 does not support 0-blocks.", wsnz},
	{"WriteSame16.ZeroBlocks", "ABCDEF", "WRITESAME16 does not support 0-blocks.", wsnz},
	{"WriteAtomic16.VPD", "A", "No alignment restrictions on this LUN", "there are none"},
	{"WriteAtomic16.VPD", "A", "No granularity restrictions on this LUN", "there are none"},
	{"WriteAtomic16.*", "BCDEF", "WRITEATOMIC16 is not implemented.", noAtomic},
	{"WriteAtomic16.VPD", "BCDEF", "WRITEATOMIC16 is NOT supported by the target.", noAtomic},
	{"Sanitize.CryptoErase", "ABCEF", noCrypto, "nothing is encrypted, so there is no key to forget"},
	{"Sanitize.Re[as]*", "ABCEF", noCrypto, "nothing is encrypted, so there is no key to forget"},
	{"Sanitize.Reset", "ABCEF", notRun, "it wants an operation to take longer than five seconds; see the other checks"},
	{"Sanitize.BlockErase", "ACEF", "[WARNING] SANITIZE BLOCK ERASE opcode is supported but MediumRotationRate is not 0 indicating that this is a HDD. " +
		"Only SSDs should implement BLOCK ERASE", "the rate is 1, and that means an SSD (SBC-3 table 190)"},

	{"CompareAndWrite.[DUI]*", "E", refused, readOnly},
	{"GetLBAStatus.UnmapSingle", "E", refused, readOnly},
	{"OrWrite.*", "E", refused, readOnly},
	{"ProutReserve.Access*", "E", refused, readOnly},
	{"Sanitize.BlockErase", "E", refused, readOnly},
	{"Unmap.[SZ]*", "E", refused, readOnly},
	{"Write1*", "E", refused, readOnly},
	{"WriteSame*", "E", refused, readOnly},
	{"WriteSame1?.Unmap", "E", "LBPRZ is clear. Skip the read and verify zero test", readOnly},
	{"WriteVerify*", "E", refused, readOnly},
	{"MultipathIO.[SC]*", "E", refused, readOnly},
	{"CompareAndWrite.[SM]*", "E", notRun, readOnly},
	{"ExtendedCopy.Simple", "E", notRun, readOnly},
	{"ExtendedCopy.ValidTgtDescr", "E", notRun, readOnly},
	{"ReceiveCopyResults.CopyStatus", "E", notRun, readOnly},
	{"Sanitize.Overwrite", "E", notRun, readOnly},
	{"Unmap.VPD", "E", notRun, readOnly},
	{"WriteSame1?.UnmapVPD", "E", notRun, readOnly},
	{"Write10.Async", "E", notRun, readOnly},
	{"iSCSIResiduals.Write*", "E", notRun, readOnly},
	{"iSCSITMF.AbortTaskSimpleAsync", "E", notRun, readOnly},
}

// Reasons that come up more than once.
const (
	fixed    = "it isn't removable; F is"
	readOnly = "the test has to write, and nothing else goes wrong than that it can't"
	wsnz     = "a count of 0 means all of the LUN, and is refused (WSNZ)"
	noAtomic = "only RAM promises that a write is there as a whole or not at all after a power cut"
	noCrypto = "SANITIZE CRYPTO_ERASE is not implemented according to REPORT_SUPPORTED_OPCODES."
)

func (s skip) covers(t test, profile, reason string) bool {
	ok, err := path.Match(s.tests, t.String())
	return err == nil && ok && strings.Contains(s.profiles, profile) && s.says == reason
}

// allowance remembers which skips have come up.
type allowance struct {
	list []skip
	used map[string]bool // index of the skip and profile
}

func newAllowance(list []skip) *allowance {
	return &allowance{list, map[string]bool{}}
}

// unexpected returns the reasons of a result that aren't on the list.
func (a *allowance) unexpected(r result, profile string) []string {
	return slices.DeleteFunc(slices.Clone(r.skips), func(reason string) bool {
		found := false
		for i, s := range a.list {
			if s.covers(r.test, profile, reason) {
				a.used[fmt.Sprint(i, profile)] = true
				found = true
			}
		}
		return found
	})
}

// omits says that a test isn't to be run, and takes note of it.
func (a *allowance) omits(t test, profile string) bool {
	r := result{test: t, skips: []string{notRun}}
	return len(a.unexpected(r, profile)) == 0
}

// stale returns what is on the list for this profile and hasn't come up.
func (a *allowance) stale(profile string) []string {
	var stale []string
	for i, s := range a.list {
		if strings.Contains(s.profiles, profile) && !a.used[fmt.Sprint(i, profile)] {
			stale = append(stale, fmt.Sprintf("%s on %s no longer says %q: take it off the list of skips", s.tests, profile, s.says))
		}
	}
	return stale
}
