package coldplug

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"*", "", true},
		{"*", "anything", true},
		{"pci:v00008086d00002922sv*sd*bc*sc*i*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc01i80", false},
		{"usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", true},
		{"cpu:type:x86,ven*fam*mod*:feature:*0094*", "cpu:type:x86,ven0000fam0006mod0006:feature:,0000,0094,0095", true},
		{"cpu:type:x86,ven*fam*mod*:feature:*0094*", "cpu:type:x86,ven0000fam0006mod0006:feature:,0000,0095", false},
		{"input:b*v*p*e*-e*1,*k*74,*", "input:b0019v0000p0001e0000-e0,1,k74,ramlsfw", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"usb-storage", "usb_storage", true},
		{"usb_storage", "usb-storage", true},
		{"d[0-3]x", "d2x", true},
		{"d[0-3]x", "d4x", false},
		{"d[!0-3]x", "d4x", true},
		{"d[]a]x", "d]x", true},
		{"d[a-]x", "d-x", true},
		{"d[ab", "da", false},
		{"*[0-9]*e", "ab1cde", true},
		{"a*b*c", "aXbXbYc", true},
		{"a*b*c", "aXbXbYcd", false},
	}
	for _, tt := range tests {
		if got := match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("match(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01")
	f.Add("[", "a")
	f.Add("[a-", "a")
	f.Add("[!", "a")
	f.Add("*[]", "]")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if match(pattern, s) && !match("*"+pattern, s) {
			t.Errorf("%q matches %q, but not with a star before", pattern, s)
		}
		if !strings.ContainsAny(s, "*?[") && !match(s, s) {
			t.Errorf("%q doesn't match itself", s)
		}
	})
}
