package sbom

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMarshal(t *testing.T) {
	files := []File{{Name: "a/vmlinuz", SHA256: HashOf([]byte("k"))}, {Name: "EFI/BOOT/BOOTX64.EFI", SHA256: HashOf(nil)}}
	packages := []Package{{Name: "libstdc++6", Version: "12", SHA256: HashOf(nil), Licenses: []string{"GPL-3+"}}, {Name: "lvm2", Version: "2"}}
	made := time.Date(2026, 11, 1, 2, 3, 4, 0, time.FixedZone("x", 3600))
	m := Image{Version: "v1", Created: made, Packages: packages, Files: files}
	out, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	m.Created = made.UTC()
	again, err := Marshal(m)
	if err != nil || string(out) != string(again) {
		t.Errorf("the same twice isn't the same (%v)", err)
	}
	got, err := Files(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	var d struct {
		SPDXVersion, SPDXID, DataLicense, DocumentNamespace string
		CreationInfo                                        struct{ Created string }
		Packages                                            []struct{ SPDXID, Name, VersionInfo, LicenseComments string }
		Relationships                                       []struct{ SpdxElementID, RelatedSpdxElement string }
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	if d.SPDXVersion != "SPDX-2.3" || d.DataLicense != "CC0-1.0" || d.SPDXID != "SPDXRef-DOCUMENT" || d.CreationInfo.Created != "2026-11-01T01:03:04Z" ||
		!strings.HasPrefix(d.DocumentNamespace, "urn:") {
		t.Errorf("%+v", d)
	}
	if p := d.Packages[1]; p.SPDXID != "SPDXRef-deb-libstdc--6" || p.VersionInfo != "12" || !strings.Contains(p.LicenseComments, "GPL-3+") {
		t.Errorf("package %+v", p)
	}
	if len(d.Relationships) != 5 {
		t.Errorf("%d relationships, want 5", len(d.Relationships))
	}
}

// What is inside of the initramfs is told, and is no file of the boot volume.
func TestInside(t *testing.T) {
	m := Image{Version: "v1", Options: "--modules i915", Packages: []Package{{Name: "firmware-bnx2", Version: "2"}}, Files: []File{{Name: "a/vmlinuz", SHA256: "1"}},
		Inside: []File{{Name: "etc/issue", SHA256: "2", Comment: "mode 0644"}, {Name: "lib/firmware/x.fw", SHA256: "3", Package: "firmware-bnx2"}}}
	out, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Files(out); err != nil || len(got) != 1 || got[0].Name != "a/vmlinuz" {
		t.Errorf("files of the boot volume: %v, %v", got, err)
	}
	var d Document
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	if d.Packages[0].Comment != m.Options || d.Files[1].Comment != "mode 0644" {
		t.Errorf("comments %q, %q", d.Packages[0].Comment, d.Files[1].Comment)
	}
	want := []relationship{{self, "DESCRIBES", image}, {image, "CONTAINS", "SPDXRef-deb-firmware-bnx2"}, {image, "CONTAINS", added},
		{image, "CONTAINS", "SPDXRef-file-1"}, {added, "CONTAINS", "SPDXRef-file-2"}, {"SPDXRef-deb-firmware-bnx2", "CONTAINS", "SPDXRef-file-3"}}
	if diff := cmp.Diff(want, d.Relationships); diff != "" {
		t.Errorf("relationships (-want +got):\n%s", diff)
	}
}

func TestFilesErrors(t *testing.T) {
	for _, text := range []string{"", "{}", `{"spdxVersion":"SPDX-2.3"}`, `{"spdxVersion":"SPDX-2.3","files":[{"fileName":"./x"}]}`,
		`{"spdxVersion":"SPDX-2.3","files":[{"fileName":"./x","SPDXID":"f"}],"relationships":[{"spdxElementId":"SPDXRef-sanstick","relatedSpdxElement":"f"}]}`} {
		if _, err := Files([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestLicenses(t *testing.T) {
	dep5 := "Format: x\n\nFiles: *\nLicense: GPL-2+\n text\n\nFiles: y\nLicense: BSD-3-clause\n\nLicense: GPL-2+\n text\n"
	if diff := cmp.Diff([]string{"BSD-3-clause", "GPL-2+"}, Licenses([]byte(dep5))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Licenses([]byte("This is free.\nLicense: no form\n")); got != nil {
		t.Errorf("free text: %q", got)
	}
}
