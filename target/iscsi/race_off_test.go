//go:build !race

package iscsi_test

const slow = false
