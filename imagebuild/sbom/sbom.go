// Package sbom is the manifest of an image: an SPDX 2.3 document in JSON that names the Debian packages it is made of, the
// files on its boot volume with their hashes, and what was put into it beside what every image has.
package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Package is one of the packages an image is made of.
type Package struct {
	Name, Version string
	SHA256        string   // of the .deb file, in hex
	Licenses      []string // as debian/copyright names them; empty if it doesn't in a form that programs read
}

// A File is a file with its hash.
type File struct {
	Name    string // slash-separated, relative
	SHA256  string // in hex
	Comment string
	Package string // of an Image's Packages, that it is from; empty: none
}

// An Image is all that its manifest tells.
type Image struct {
	Version  string
	Created  time.Time // that two builds of the same have in common
	Options  string    // how it was built, if not like every image
	Packages []Package
	Files    []File // on the boot volume
	Inside   []File // files of the initramfs that every image doesn't have
}

// HashOf returns the hash of data as the manifest has it.
func HashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Document is the part of SPDX 2.3 that we write.
type Document struct {
	SPDXVersion   string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Files         []spdxFile     `json:"files,omitempty"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxPackage struct {
	ID               string     `json:"SPDXID"`
	Name             string     `json:"name"`
	Version          string     `json:"versionInfo"`
	Supplier         string     `json:"supplier,omitempty"`
	Download         string     `json:"downloadLocation"`
	FilesAnalyzed    bool       `json:"filesAnalyzed"`
	Checksums        []checksum `json:"checksums,omitempty"`
	LicenseConcluded string     `json:"licenseConcluded"`
	LicenseDeclared  string     `json:"licenseDeclared"`
	LicenseComments  string     `json:"licenseComments,omitempty"`
	Copyright        string     `json:"copyrightText"`
	Comment          string     `json:"comment,omitempty"`
}

type spdxFile struct {
	ID               string     `json:"SPDXID"`
	Name             string     `json:"fileName"`
	Checksums        []checksum `json:"checksums"`
	LicenseConcluded string     `json:"licenseConcluded"`
	Copyright        string     `json:"copyrightText"`
	Comment          string     `json:"comment,omitempty"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	unknown = "NOASSERTION"
	self    = "SPDXRef-DOCUMENT"
	image   = "SPDXRef-sanstick"
	added   = "SPDXRef-added"
)

// Marshal writes the manifest of an image.
func Marshal(m Image) ([]byte, error) {
	d := Document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", ID: self, Name: "sanstick-" + m.Version,
		Creation: creation{Created: m.Created.UTC().Format(time.RFC3339), Creators: []string{"Tool: sanstick-imagebuild"}},
		Packages: []spdxPackage{{ID: image, Name: "sanstick", Version: m.Version, Download: unknown,
			LicenseConcluded: unknown, LicenseDeclared: unknown, Copyright: unknown, Comment: m.Options}},
		Relationships: []relationship{{self, "DESCRIBES", image}},
	}
	for _, p := range m.Packages {
		id := debID(p.Name)
		sp := spdxPackage{ID: id, Name: p.Name, Version: p.Version, Supplier: "Organization: Debian", Download: unknown,
			Checksums:        []checksum{{"SHA256", p.SHA256}},
			LicenseConcluded: unknown, LicenseDeclared: unknown, Copyright: unknown}
		if len(p.Licenses) > 0 {
			sp.LicenseComments = "debian/copyright names: " + strings.Join(p.Licenses, ", ")
		}
		d.Packages = append(d.Packages, sp)
		d.Relationships = append(d.Relationships, relationship{image, "CONTAINS", id})
	}
	if slices.ContainsFunc(m.Inside, func(f File) bool { return f.Package == "" }) {
		d.Packages = append(d.Packages, spdxPackage{ID: added, Name: "added-files", Version: unknown, Download: unknown,
			LicenseConcluded: unknown, LicenseDeclared: unknown, Copyright: unknown, Comment: "given to imagebuild with --add"})
		d.Relationships = append(d.Relationships, relationship{image, "CONTAINS", added})
	}
	for _, f := range m.Files {
		d.file(image, f)
	}
	for _, f := range m.Inside {
		of := added
		if f.Package != "" {
			of = debID(f.Package)
		}
		d.file(of, f)
	}
	content, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("cannot write the manifest: %w", err)
	}
	d.Namespace = "urn:sanstick:" + HashOf(content) // unique to this content, as SPDX wants it
	out, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the manifest: %w", err)
	}
	return append(out, '\n'), nil
}

func (d *Document) file(of string, f File) {
	id := fmt.Sprintf("SPDXRef-file-%d", len(d.Files)+1)
	d.Files = append(d.Files, spdxFile{ID: id, Name: "./" + f.Name, Checksums: []checksum{{"SHA256", f.SHA256}},
		LicenseConcluded: unknown, Copyright: unknown, Comment: f.Comment})
	d.Relationships = append(d.Relationships, relationship{of, "CONTAINS", id})
}

func debID(name string) string { return "SPDXRef-deb-" + idString(name) }

// idString replaces what an SPDX identifier may not have in it.
func idString(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, s)
}

// Files reads which files of the boot volume a manifest names.
func Files(manifest []byte) ([]File, error) {
	var d Document
	if err := json.Unmarshal(manifest, &d); err != nil {
		return nil, fmt.Errorf("cannot read the manifest: %w", err)
	}
	outside := make(map[string]bool)
	for _, r := range d.Relationships {
		outside[r.To] = outside[r.To] || r.From == image
	}
	var out []File
	for _, f := range d.Files {
		if !outside[f.ID] {
			continue
		}
		i := slices.IndexFunc(f.Checksums, func(c checksum) bool { return c.Algorithm == "SHA256" })
		if i < 0 {
			return nil, fmt.Errorf("cannot use the manifest: it has no SHA-256 of %s", f.Name)
		}
		out = append(out, File{Name: strings.TrimPrefix(f.Name, "./"), SHA256: f.Checksums[i].Value})
	}
	if d.SPDXVersion != "SPDX-2.3" || len(out) == 0 {
		return nil, fmt.Errorf("cannot use the manifest: it is no SPDX 2.3 document with files of a boot volume")
	}
	return out, nil
}

// Licenses finds the licences that a debian/copyright file names, if it is in the machine-readable form (DEP 5).
func Licenses(copyright []byte) []string {
	text := string(copyright)
	if !strings.HasPrefix(text, "Format:") {
		return nil
	}
	var out []string
	for line := range strings.Lines(text) {
		if l, ok := strings.CutPrefix(line, "License:"); ok {
			if l = strings.TrimSpace(l); l != "" && !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	slices.Sort(out)
	return out
}
