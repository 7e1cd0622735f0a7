package network

import (
	"fmt"
	"strings"

	"github.com/google/renameio/v2"
)

// resolvConf gives the content of resolv.conf for the leases, the first one
// first; empty if they have no name servers.
func resolvConf(leases []*Lease) string {
	var domains []string
	var b strings.Builder
	n := 0
	seen := map[string]bool{}
	for _, l := range leases {
		if l.Domain != "" && !seen["search "+l.Domain] {
			seen["search "+l.Domain] = true
			domains = append(domains, l.Domain)
		}
		for _, a := range l.DNS {
			if n < maxResolvers && !seen[a.String()] {
				seen[a.String()] = true
				n++
				fmt.Fprintf(&b, "nameserver %s\n", a)
			}
		}
	}
	if n == 0 {
		return ""
	}
	head := "# written by the appliance, from DHCP\n"
	if len(domains) > 0 {
		head += "search " + strings.Join(domains, " ") + "\n"
	}
	return head + b.String()
}

// writeFile replaces a file in one go.
func writeFile(path, text string) error {
	if err := renameio.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
