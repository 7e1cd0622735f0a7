package transfer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/image"
)

// An image of several files is another one when any of them is, not only the one that
// names the others.
func TestWebImageOfSeveralFiles(t *testing.T) {
	const part = 64 << 10
	descriptor := "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n"
	for i := range 2 {
		descriptor += fmt.Sprintf("RW %d FLAT \"disk-f%03d.vmdk\" 0\n", part/512, i+1)
	}
	etags := map[string]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content := strings.Repeat("x", part)
		if r.URL.Path == "/disk.vmdk" {
			content = descriptor
		}
		if e := etags[r.URL.Path]; e != "" {
			w.Header().Set("ETag", e)
		}
		http.ServeContent(w, r, "x", time.Time{}, strings.NewReader(content))
	}))
	defer srv.Close()
	open := func(change func()) (identity string, known bool) {
		t.Helper()
		for _, name := range []string{"/disk.vmdk", "/disk-f001.vmdk", "/disk-f002.vmdk"} {
			etags[name] = `"one"`
		}
		change()
		w, err := OpenWeb(t.Context(), srv.URL+"/disk.vmdk", quick)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		x, err := OpenWebImage(w, "")
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		if x.Format != image.VMDK || x.Size != 2*part {
			t.Errorf("format %s, size %d", x.Format, x.Size)
		}
		return x.Identity(), x.Known()
	}
	was, known := open(func() {})
	if again, _ := open(func() {}); again != was || !known {
		t.Errorf("identities %q and %q of the same, known %v", was, again, known)
	}
	if now, known := open(func() { etags["/disk-f002.vmdk"] = `"two"` }); now == was || !known {
		t.Errorf("identity %q, as before, of another second part; known %v", now, known)
	}
	if _, known := open(func() { delete(etags, "/disk-f001.vmdk") }); known {
		t.Error("known, though nothing tells the first part from another")
	}
}
