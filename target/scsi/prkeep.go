package scsi

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Store keeps what a unit must know after a power cut: registrations and the
// persistent reservation, if the initiators want that (APTPL). Its methods are
// called by one goroutine at a time.
type Store interface {
	// Load returns what was saved last, nil if nothing ever was.
	Load() ([]byte, error)
	// Save replaces what is kept as a whole. It returns when that is on stable
	// storage. After an error, the old or the new one is there.
	Save([]byte) error
	// If there is a String method, errors tell people with it where to look.
}

// CheckState tells why what a Store has can't be used for a unit with that NAA;
// nil for nothing, as when nothing was ever saved.
func CheckState(naa [16]byte, b []byte) error {
	if b == nil {
		return nil
	}
	_, err := decodeState(naa, b)
	return err
}

// ErrStoreFull is what Save of a Store returns, wrapped, if there is no room for
// more. Initiators are told that it lacks, not that something is broken.
var ErrStoreFull = errors.New("there is no room for more reservations")

// keeper writes the state of a unit to its store.
type keeper struct {
	store Store // nil: APTPL is refused
	naa   [16]byte
	saved []byte // what is in the store, nil if that isn't known
}

// load reads the state that a unit starts with.
func (k *keeper) load() (prState, error) {
	if k.store == nil {
		return prState{}, nil
	}
	b, err := k.store.Load()
	if err != nil {
		return prState{}, fmt.Errorf("cannot read the saved reservations: %w", err)
	}
	if b == nil {
		k.saved = encodeState(k.naa, &prState{})
		return prState{}, nil
	}
	s, err := decodeState(k.naa, b)
	if err != nil {
		them := "them"
		if s, ok := k.store.(fmt.Stringer); ok {
			them = s.String()
		}
		return prState{}, fmt.Errorf("cannot read the saved reservations: %w; "+
			"make sure that no host uses the volume, then delete %s to start without", err, them)
	}
	k.saved = b
	return s, nil
}

// save makes a state durable, if it is one that is to survive. Otherwise it
// makes sure that no older one does.
func (k *keeper) save(s *prState) error {
	if k.store == nil {
		return nil
	}
	if !s.aptpl {
		s = &prState{}
	}
	for _, r := range s.registrations {
		if a, b := len(r.nexus.initiator), len(r.nexus.target); a == 0 || a > 255 || b == 0 || b > 255 {
			return errors.New("cannot save reservations: the name of a port does not have 1 to 255 bytes")
		}
	}
	b := encodeState(k.naa, s)
	if k.saved != nil && bytes.Equal(b, k.saved) {
		return nil
	}
	k.saved = nil
	if err := k.store.Save(b); err != nil {
		return fmt.Errorf("cannot save reservations: %w", err)
	}
	k.saved = b
	return nil
}

// The saved form, big-endian:
//
//	 0  stateMagic with the version
//	 8  NAA of the unit
//	24  1 if the state survives a power cut
//	25  type of the reservation, 0 for none
//	26  place of its holder among the registrations, noHolder for none or all
//	28  number of registrations; of each: key (8), relative target port (2),
//	    length and name of the initiator port, length and name of the target port
//	    SHA-256 of all that
const (
	stateMagic  = "SANPRST\x01"
	stateHeader = 30
	noHolder    = 0xffff
	// maxState bounds the saved form, in bytes.
	maxState = stateHeader + maxRegistrations*(8+2+1+255+1+255) + sha256.Size
)

func encodeState(naa [16]byte, s *prState) []byte {
	b := append([]byte(stateMagic), naa[:]...)
	aptpl := byte(0)
	if s.aptpl {
		aptpl = 1
	}
	holder := uint16(noHolder)
	if i := s.find(s.holder); s.kind != 0 && !s.kind.allHold() && i >= 0 {
		holder = uint16(i)
	}
	b = append(b, aptpl, byte(s.kind))
	b = binary.BigEndian.AppendUint16(b, holder)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.registrations)))
	for _, r := range s.registrations {
		b = binary.BigEndian.AppendUint64(b, r.key)
		b = binary.BigEndian.AppendUint16(b, r.port)
		for _, name := range []string{r.nexus.initiator, r.nexus.target} {
			b = append(b, byte(len(name)))
			b = append(b, name...)
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errDamaged = errors.New("they are damaged")

// decodeState is the inverse of encodeState. It takes nothing that encodeState
// doesn't make.
func decodeState(naa [16]byte, b []byte) (prState, error) {
	var s prState
	if len(b) < stateHeader+sha256.Size || len(b) > maxState {
		return s, errDamaged
	}
	if magic := stateMagic[:len(stateMagic)-1]; string(b[:len(magic)]) != magic {
		return s, errors.New("they are none")
	}
	if v := b[len(stateMagic)-1]; v != stateMagic[len(stateMagic)-1] {
		return s, fmt.Errorf("they are of version %d, which this program doesn't know", v)
	}
	b, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if want := sha256.Sum256(b); !bytes.Equal(sum, want[:]) {
		return s, errDamaged
	}
	if [16]byte(b[8:]) != naa {
		return s, fmt.Errorf("they belong to another volume, with NAA %x", b[8:24])
	}
	holder, count := int(binary.BigEndian.Uint16(b[26:])), int(binary.BigEndian.Uint16(b[28:]))
	s.aptpl, s.kind = b[24] == 1, prType(b[25])
	if b[24] > 1 || count > maxRegistrations || !s.aptpl && (count > 0 || s.kind != 0) || s.kind != 0 && !s.kind.valid() {
		return prState{}, errDamaged
	}
	rest := b[stateHeader:]
	for range count {
		r, n := decodeRegistration(rest)
		if n == 0 || s.find(r.nexus) >= 0 {
			return prState{}, errDamaged
		}
		s.registrations = append(s.registrations, r)
		rest = rest[n:]
	}
	switch held := s.kind != 0 && !s.kind.allHold(); {
	case len(rest) > 0, held != (holder != noHolder), held && holder >= count, s.kind != 0 && count == 0:
		return prState{}, errDamaged
	case held:
		s.holder = s.registrations[holder].nexus
	}
	return s, nil
}

// decodeRegistration reads a registration and returns its length, 0 if it is
// none.
func decodeRegistration(b []byte) (r registration, n int) {
	if len(b) < 10 {
		return r, 0
	}
	r.key, r.port, n = binary.BigEndian.Uint64(b), binary.BigEndian.Uint16(b[8:]), 10
	for _, name := range []*string{&r.nexus.initiator, &r.nexus.target} {
		if n >= len(b) || b[n] == 0 || n+1+int(b[n]) > len(b) {
			return r, 0
		}
		*name = string(b[n+1 : n+1+int(b[n])])
		n += 1 + len(*name)
	}
	if r.key == 0 {
		return r, 0
	}
	return r, n
}
