package config

import (
	_ "embed"
	"slices"
)

//go:embed default.toml
var defaultTOML []byte

//go:embed demo.toml
var demoTOML []byte

//go:embed reference.toml
var referenceTOML []byte

// Default returns the file that a new stick has: an address by DHCP, no pools,
// and hints.
func Default() []byte { return slices.Clone(defaultTOML) }

// Demo returns the file for trying the appliance in a virtual machine: a
// mirror of all blank disks, and one volume open to anyone.
func Demo() []byte { return slices.Clone(demoTOML) }

// Reference returns a valid file that documents every key.
func Reference() []byte { return slices.Clone(referenceTOML) }
