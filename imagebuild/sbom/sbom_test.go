package sbom

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMarshal(t *testing.T) {
	files := []File{{"a/vmlinuz", HashOf([]byte("k"))}, {"EFI/BOOT/BOOTX64.EFI", HashOf(nil)}}
	packages := []Package{{Name: "libstdc++6", Version: "12", SHA256: HashOf(nil), Licenses: []string{"GPL-3+"}}, {Name: "lvm2", Version: "2"}}
	made := time.Date(2026, 11, 1, 2, 3, 4, 0, time.FixedZone("x", 3600))
	out, err := Marshal("v1", made, packages, files)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Marshal("v1", made.UTC(), packages, files)
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

func TestFilesErrors(t *testing.T) {
	for _, text := range []string{"", "{}", `{"spdxVersion":"SPDX-2.3"}`, `{"spdxVersion":"SPDX-2.3","files":[{"fileName":"./x"}]}`} {
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
