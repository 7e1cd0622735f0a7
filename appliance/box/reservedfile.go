package box

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// reservationsName is the file on the stick with the persistent reservations that
// outlast a loss of power (APTPL).
const reservationsName = "sanstick/reservations.json"

// maxReservations bounds that file, in bytes: two copies of it and of the largest
// configuration fit into what a disk keeps.
const maxReservations = 512 << 10

// naa is what initiators know a volume by, all its life.
type naa [16]byte

// MarshalText implements encoding.TextMarshaler.
func (n naa) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(n[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *naa) UnmarshalText(text []byte) error {
	if len(text) != 2*len(n) {
		return errors.New("it is no NAA designator")
	}
	_, err := hex.Decode(n[:], text)
	return err
}

// reserved are the reservations of a volume.
type reserved struct {
	// Generation goes up with each change. The highest that is found anywhere is
	// right: places that weren't here have older ones.
	Generation uint64 `json:"generation"`
	// State is what package scsi wants kept; empty if that is nothing.
	State []byte `json:"state,omitempty"`
}

// The file is a line that ends in the SHA-256 of all behind it, and JSON.
const (
	reservedHead    = "sanstick reservations, version "
	reservedVersion = 1
)

var errReservedDamaged = errors.New("they are damaged")

func encodeReserved(all map[naa]reserved) ([]byte, error) {
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	head := fmt.Sprintf("%s%d, SHA-256 %x\n", reservedHead, reservedVersion, sha256.Sum256(text))
	return append([]byte(head), text...), nil
}

// decodeReserved is the inverse of encodeReserved. What isn't whole, or comes from
// a version that does it in another way, is refused as a whole.
func decodeReserved(b []byte) (map[naa]reserved, error) {
	if len(b) > maxReservations {
		return nil, errReservedDamaged
	}
	head, text, ok := bytes.Cut(b, []byte("\n"))
	rest, isOurs := strings.CutPrefix(string(head), reservedHead)
	version, sum, hasSum := strings.Cut(rest, ", ")
	if !ok || !isOurs || !hasSum {
		return nil, errReservedDamaged
	}
	if n, err := strconv.ParseUint(version, 10, 16); err != nil {
		return nil, errReservedDamaged
	} else if n != reservedVersion {
		return nil, fmt.Errorf("they are of version %d, which this version of sanstick doesn't know", n)
	}
	if sum != fmt.Sprintf("SHA-256 %x", sha256.Sum256(text)) {
		return nil, errReservedDamaged
	}
	var all map[naa]reserved
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, errReservedDamaged
	}
	return all, nil
}
