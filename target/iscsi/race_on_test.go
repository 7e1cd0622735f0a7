//go:build race

package iscsi_test

// slow says that the race detector is on: what is repeated very often is
// repeated less.
const slow = true
