// Package stickcopy keeps a copy of what is on the stick on each data disk, so
// that a new stick can go on where one that died has ended.
//
// It lies in LVM's bootloader area, which LVM reserves at the start of a physical
// volume and never uses, in two slots of which the older one is written. After a
// power cut at any moment a whole copy is there.
//
// A slot is a header of 4 KiB and the files behind it:
//
//	0    magic, 16 bytes
//	16   length of what is behind the header, in bytes (32 bits, big-endian, as all)
//	20   zero
//	24   generation (64 bits)
//	32   SHA-256 of what is behind the header
//	64   CRC-32 (IEEE) of the bytes before
//
// Behind it is JSON, compressed by zstd. What is found on a disk isn't trusted:
// see Decode.
package stickcopy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	// AreaSize is how large the area should be, in bytes.
	AreaSize = 2 << 20
	// headerSize fits any disk's blocks.
	headerSize = 4096
	magic      = "sanstick's copy\n"
	// MaxGeneration bounds generations. No appliance gets near it by counting.
	MaxGeneration = 1 << 62
	// maxFiles and maxBytes bound what is read into memory: the configuration
	// twice, and what belongs to it.
	maxFiles = 16
	maxBytes = 4 << 20
)

// A Copy is what was on a stick.
type Copy struct {
	Appliance  string            `json:"appliance"` // whose it was: a random number that the stick keeps
	Hostname   string            `json:"hostname"`  // for people
	Generation uint64            `json:"-"`         // the highest is the newest
	Time       time.Time         `json:"time"`      // when it was made, by the appliance's clock
	Files      map[string][]byte `json:"files"`     // by name below the stick's root, with slashes
}

// Same tells whether two copies hold the same, whenever they were made.
func (c Copy) Same(o Copy) bool {
	return c.Appliance == o.Appliance && c.Hostname == o.Hostname &&
		maps.EqualFunc(c.Files, o.Files, func(a, b []byte) bool { return string(a) == string(b) })
}

// ErrNone says that there is no copy in a slot.
var ErrNone = errors.New("there is no copy of a stick")

func (c Copy) check() error {
	if c.Generation > MaxGeneration {
		return fmt.Errorf("its generation is %d", c.Generation)
	}
	if c.Appliance == "" || len(c.Appliance) > 64 || len(c.Hostname) > 255 {
		return errors.New("it doesn't say properly whose it is")
	}
	if len(c.Files) == 0 || len(c.Files) > maxFiles {
		return fmt.Errorf("it has %d files", len(c.Files))
	}
	var bytes int
	for name, data := range c.Files {
		if !fs.ValidPath(name) || name == "." || len(name) > 255 {
			return fmt.Errorf("%q is no name of a file on a stick", name)
		}
		bytes += len(data)
	}
	if bytes > maxBytes {
		return fmt.Errorf("its files have %d bytes, more than %d", bytes, maxBytes)
	}
	return nil
}

// encode makes what a slot of size bytes holds: the header and what is behind it,
// each in whole blocks.
func (c Copy) encode(size int64) (header, body []byte, err error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, nil, err
	}
	packed := enc.EncodeAll(text, nil)
	if int64(len(packed)) > size-headerSize {
		return nil, nil, fmt.Errorf("it takes %d bytes, and there is room for %d", len(packed), size-headerSize)
	}
	h := make([]byte, headerSize)
	copy(h, magic)
	binary.BigEndian.PutUint32(h[16:], uint32(len(packed)))
	binary.BigEndian.PutUint64(h[24:], c.Generation)
	sum := sha256.Sum256(packed)
	copy(h[32:], sum[:])
	binary.BigEndian.PutUint32(h[64:], crc32.ChecksumIEEE(h[:64]))
	return h, slices.Concat(packed, make([]byte, -len(packed)&(headerSize-1))), nil
}

// head is what a header says.
type head struct {
	length     int64
	generation uint64
	sum        [32]byte
}

// decodeHeader reads the header of a slot of size bytes; anything else is ErrNone.
func decodeHeader(h []byte, size int64) (head, error) {
	if len(h) < 68 || string(h[:16]) != magic || binary.BigEndian.Uint32(h[64:]) != crc32.ChecksumIEEE(h[:64]) {
		return head{}, ErrNone
	}
	x := head{length: int64(binary.BigEndian.Uint32(h[16:])), generation: binary.BigEndian.Uint64(h[24:])}
	copy(x.sum[:], h[32:])
	if x.length > size-headerSize || x.generation > MaxGeneration {
		return head{}, ErrNone
	}
	return x, nil
}

// decodeBody reads what is behind a header. It refuses what isn't whole, what is
// larger than can be, and names that aren't those of files below a root.
func decodeBody(x head, packed []byte) (c Copy, err error) {
	if sha256.Sum256(packed) != x.sum {
		return c, ErrNone
	}
	const most = 2*maxBytes + 64<<10 // base64, names
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(most))
	if err != nil {
		return c, err
	}
	defer dec.Close()
	text, err := dec.DecodeAll(packed, nil)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Copy{}, fmt.Errorf("%w that can be read: %v", ErrNone, err)
	}
	c.Generation = x.generation
	return c, nil
}
