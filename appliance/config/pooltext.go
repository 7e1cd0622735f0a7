package config

import (
	"fmt"
	"strings"
)

// Text writes a pool and volumes of it the way they stand in the file. Only
// what Parse needs to make the same pool of it is there.
func Text(p Pool, volumes []Volume) string {
	var b strings.Builder
	disks := make([]string, len(p.Disks))
	for i, d := range p.Disks {
		disks[i] = quote(d)
	}
	fmt.Fprintf(&b, "[[pool]]\nname   = %s\ndisks  = [%s]\nlayout = %s\n", quote(p.Name), strings.Join(disks, ", "), quote(p.Layout))
	for _, v := range volumes {
		fmt.Fprintf(&b, "\n[[volume]]\nname = %s\npool = %s\nsize = %s\n", quote(v.Name), quote(p.Name), quote(sizeText(v.Size)))
		if v.Thick {
			b.WriteString("thick = true\n")
		}
		if v.Block != 0 {
			fmt.Fprintf(&b, "block = %d\n", v.Block)
		}
	}
	return b.String()
}

// quote writes a basic string of TOML.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
