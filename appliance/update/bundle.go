package update

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A bundle is the file that an update comes in:
//
//	16 bytes  "SANSTICK UPDATE\n"
//	 4 bytes  length of the manifest, little endian
//	          the manifest, JSON
//	64 bytes  ed25519 signature over signed(manifest); zeros: not signed
//	          the files, in the manifest's order, and nothing behind them
//
// The signature covers the files by their hashes. Nothing of a bundle is used
// before it is checked.
const (
	bundleMagic   = "SANSTICK UPDATE\n"
	bundleContext = "sanstick update, manifest:\n"
	bundleFormat  = 1

	maxManifest = 64 << 10
	maxFile     = 1 << 30
	maxText     = 128 // bytes of a version
)

// The files of a slot, in the order in which a bundle has them.
const (
	KernelName    = "vmlinuz"
	InitramfsName = "initrd.img"
)

// Release says what a system is.
type Release struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"` // of the source it was built from; the later one is newer
	Arch    string    `json:"arch"` // as Go calls it
	Config  Range     `json:"config"`
}

// Range is the schemas of appliance.toml that a system understands.
type Range struct {
	Oldest int `json:"oldest"`
	Newest int `json:"newest"`
}

// Has tells whether schema n is among them.
func (r Range) Has(n int) bool { return r.Oldest <= n && n <= r.Newest }

// File is a file of a slot.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// Manifest says what a bundle, or a slot, holds.
type Manifest struct {
	Format int `json:"format"`
	Release
	Files []File `json:"files"` // KernelName and InitramfsName
}

// Size is that of all files in bytes.
func (m Manifest) Size() int64 {
	n := int64(0)
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// check finds what would make a manifest useless.
func (m Manifest) check() error {
	if m.Format != bundleFormat {
		return &Refusal{fmt.Sprintf("the bundle is of format %d, and this version reads format %d", m.Format, bundleFormat), "update to a version in between first"}
	}
	if !plain(m.Version) || !plain(m.Arch) {
		return errors.New("the manifest has no usable version")
	}
	if m.Config.Oldest < 1 || m.Config.Newest < m.Config.Oldest {
		return errors.New("the manifest doesn't say which configurations it understands")
	}
	if len(m.Files) != 2 || m.Files[0].Name != KernelName || m.Files[1].Name != InitramfsName {
		return fmt.Errorf("the manifest doesn't list %s and %s", KernelName, InitramfsName)
	}
	for _, f := range m.Files {
		if f.Size <= 0 || f.Size > maxFile {
			return fmt.Errorf("the manifest gives %s %d bytes", f.Name, f.Size)
		}
		if b, err := hex.DecodeString(f.SHA256); err != nil || len(b) != sha256.Size {
			return fmt.Errorf("the manifest has no SHA-256 of %s", f.Name)
		}
	}
	return nil
}

// plain tells whether s can be shown and written anywhere.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxText
}

// DecodeManifest reads a manifest and checks it.
func DecodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if len(b) > maxManifest {
		return m, fmt.Errorf("the manifest has %d bytes, more than %d", len(b), maxManifest)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("the manifest can't be read: %w", err)
	}
	return m, m.check()
}

// Bundle is one that is being read.
type Bundle struct {
	Manifest
	raw       []byte
	signature [ed25519.SignatureSize]byte
	r         io.Reader
}

// ErrNotBundle says that a file is something else.
var ErrNotBundle = &Refusal{"this is no update of sanstick", "imagebuild bundle makes one"}

// Open reads the head of a bundle and checks its signature. With one of keys it
// must have been made; without any keys, no bundle is accepted. The files
// follow by Read, in order.
func Open(r io.Reader, keys []ed25519.PublicKey) (*Bundle, error) {
	b, err := openHead(r)
	if err != nil {
		return nil, err
	}
	if err := b.verify(keys); err != nil {
		return nil, err
	}
	// Only what is signed is interpreted.
	if b.Manifest, err = DecodeManifest(b.raw); err != nil {
		return nil, fmt.Errorf("cannot use the update: %w", err)
	}
	return b, nil
}

// openHead reads the head and interprets nothing of it.
func openHead(r io.Reader) (*Bundle, error) {
	head := make([]byte, len(bundleMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, headError(err)
	}
	if string(head[:len(bundleMagic)]) != bundleMagic {
		return nil, ErrNotBundle
	}
	n := binary.LittleEndian.Uint32(head[len(bundleMagic):])
	if n == 0 || n > maxManifest {
		return nil, fmt.Errorf("cannot use the update: its manifest has %d bytes, not 1 to %d", n, maxManifest)
	}
	b := &Bundle{raw: make([]byte, n), r: r}
	if _, err := io.ReadFull(r, b.raw); err != nil {
		return nil, headError(err)
	}
	if _, err := io.ReadFull(r, b.signature[:]); err != nil {
		return nil, headError(err)
	}
	return b, nil
}

func headError(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return ErrNotBundle // empty
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Refusal{"the update is cut off in its head", "fetch it again"}
	}
	return fmt.Errorf("cannot read the update: %w", err)
}

func (b *Bundle) verify(keys []ed25519.PublicKey) error {
	if b.signature == [ed25519.SignatureSize]byte{} {
		return &Refusal{"the update isn't signed", "imagebuild sign signs it"}
	}
	if len(keys) == 0 {
		return &Refusal{"this appliance has no key to check updates with", "build its image with one (imagebuild keygen), and write that to the stick"}
	}
	for _, k := range keys {
		if ed25519.Verify(k, signed(b.raw), b.signature[:]) {
			return nil
		}
	}
	return &Refusal{"the update isn't signed with a key of this appliance, or was changed afterwards", "sign it with the key that the image was built with (imagebuild sign)"}
}

func signed(manifest []byte) []byte { return append([]byte(bundleContext), manifest...) }

// Copy passes the next file on to w and checks its size and hash. All of it has
// been written when it fails for its hash.
func (b *Bundle) Copy(w io.Writer, f File) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(b.r, f.Size))
	switch {
	case err != nil:
		return fmt.Errorf("cannot copy %s: %w", f.Name, err)
	case n < f.Size:
		return &Refusal{fmt.Sprintf("the update is cut off: %s has %d of %d bytes", f.Name, n, f.Size), "fetch it again"}
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return &Refusal{fmt.Sprintf("the update is damaged: %s isn't what was signed", f.Name), "fetch it again"}
	}
	return nil
}

// End checks that nothing follows the files.
func (b *Bundle) End() error {
	n, err := io.ReadFull(b.r, make([]byte, 1))
	switch {
	case n > 0:
		return &Refusal{"the update is damaged: there is more behind its end", "fetch it again"}
	case errors.Is(err, io.EOF):
		return nil
	}
	return fmt.Errorf("cannot read the update: %w", err)
}

// HashFile describes a file for a manifest.
func HashFile(name, path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return File{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// NewManifest makes the manifest of a kernel and an initramfs.
func NewManifest(r Release, kernel, initramfs string) (Manifest, error) {
	m := Manifest{Format: bundleFormat, Release: r}
	for _, f := range [][2]string{{KernelName, kernel}, {InitramfsName, initramfs}} {
		d, err := HashFile(f[0], f[1])
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, d)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("cannot describe this system: %w", err)
	}
	return m, nil
}

// Encode gives the manifest as it lies in a bundle and in a slot.
func (m Manifest) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// Create writes a bundle that isn't signed yet.
func Create(w io.Writer, m Manifest, kernel, initramfs string) error {
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	var head bytes.Buffer
	head.WriteString(bundleMagic)
	head.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(raw))))
	head.Write(raw)
	head.Write(make([]byte, ed25519.SignatureSize))
	if _, err := w.Write(head.Bytes()); err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	for i, path := range []string{kernel, initramfs} {
		if err := appendFile(w, m.Files[i], path); err != nil {
			return err
		}
	}
	return nil
}

func appendFile(w io.Writer, d File, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", d.Name, err)
	}
	defer f.Close()
	if err := (&Bundle{r: f}).Copy(w, d); err != nil {
		return fmt.Errorf("cannot write the bundle: %s changed meanwhile: %w", path, err)
	}
	return nil
}

// Sign signs the bundle that f holds, where it is, and returns what it signed.
// The files in it are checked first: a signature says that they are right.
func Sign(f interface {
	io.ReadSeeker
	io.WriterAt
}, key ed25519.PrivateKey) (Manifest, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Manifest{}, fmt.Errorf("cannot read the bundle: %w", err)
	}
	b, err := openHead(f)
	if err != nil {
		return Manifest{}, err
	}
	if b.Manifest, err = DecodeManifest(b.raw); err != nil {
		return b.Manifest, fmt.Errorf("cannot sign the bundle: %w", err)
	}
	for _, d := range b.Files {
		if err := b.Copy(io.Discard, d); err != nil {
			return b.Manifest, fmt.Errorf("cannot sign the bundle: %w", err)
		}
	}
	if err := b.End(); err != nil {
		return b.Manifest, fmt.Errorf("cannot sign the bundle: %w", err)
	}
	at := int64(len(bundleMagic) + 4 + len(b.raw))
	if _, err := f.WriteAt(ed25519.Sign(key, signed(b.raw)), at); err != nil {
		return b.Manifest, fmt.Errorf("cannot sign the bundle: %w", err)
	}
	return b.Manifest, nil
}
