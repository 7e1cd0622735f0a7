// Package unh holds the conformance tests of the UNH-IOL iSCSI consortium for
// targets, written anew for the initiator of package iscsitest: the full
// feature phase list (82 tests), the login phase list and the CHAP list. There
// is nothing in it but tests; `go test -v -run UNH ./target/unh` prints the
// numbered lists.
//
// The numbers of the full feature phase are those of version 0.1 of that
// suite. Those of the other two follow its groups. What each test does is
// stated in terms of RFC 7143, and adjusted to a target of error recovery level
// 0 with one connection a session: what would need more (SNACK, task
// reassignment, a second connection) must be refused cleanly, that is with the
// right answer and without harm to the session.
//
// Beside the lists there are three tests of more cases than anybody would write
// down: TestKeyNegotiation (every pair of offers of all keys, against a model of
// RFC 7143 section 13), the sweeps of lengths (TestAllocationLengths,
// TestParameterListLengths, TestBlockResiduals), and TestDifferencesToTgt, which
// sends random commands to our target and to Debian's tgt and has a table of
// reasons why they may differ. They do a part of their work unless -long is
// given. -seed makes other commands.
//
// The lists run against another target with the flags -portal, -name,
// -chap-name, -mutual-name and -second-name (see harness_test.go). Its LUN 0 is
// a disk, and is overwritten. -listen says where our own target listens, for a
// capture. Where there is no tgt, give -skip Differences.
package unh
