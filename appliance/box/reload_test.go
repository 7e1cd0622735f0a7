package box

import (
	"strings"
	"testing"

	"sanstick/appliance/config"
	"sanstick/appliance/status"
)

func TestInterruption(t *testing.T) {
	was := config.Target{Name: "vm1", IQN: "iqn.2006-12.local:vm1", Volumes: []string{"a", "b"}, Initiators: []string{"iqn.2006-12.local:me"}}
	e := &export{config: was, units: []unit{{lun: status.LUN{Number: 0, Pool: "tank", Volume: "a"}}, {lun: status.LUN{Number: 1, Pool: "tank", Volume: "b"}}}}
	in := func(pool string) *config.Config {
		return &config.Config{Targets: []config.Target{was}, Volumes: []config.Volume{{Name: "a", Pool: "tank"}, {Name: "b", Pool: pool}, {Name: "c", Pool: "tank"}}}
	}
	with := func(change func(*config.Target)) *config.Config {
		c := was
		change(&c)
		next := in("tank")
		next.Targets = []config.Target{c}
		return next
	}
	for _, tt := range []struct {
		name string
		next *config.Config
		want string
	}{
		{"nothing", with(func(*config.Target) {}), ""},
		{"a volume more", with(func(c *config.Target) { c.Volumes = []string{"a", "b", "c"} }), ""},
		{"other name", with(func(c *config.Target) { c.Name = "vm2" }), ""},
		{"anyone", with(func(c *config.Target) { c.Initiators = []string{"*"} }), ""},
		{"other case", with(func(c *config.Target) { c.Initiators = []string{"iqn.2006-12.local:ME"} }), ""},
		{"target gone", &config.Config{}, "which goes"},
		{"other address", with(func(c *config.Target) { c.IQN += "x" }), "which goes"},
		{"not allowed", with(func(c *config.Target) { c.Initiators = []string{"iqn.2006-12.local:you"} }), "may not"},
		{"volume gone", with(func(c *config.Target) { c.Volumes = []string{"a"} }), "LUN 1"},
		{"volume of another pool", in("fast"), "LUN 1"},
		{"volumes swapped", with(func(c *config.Target) { c.Volumes = []string{"b", "a"} }), "LUN 0"},
	} {
		if got := interruption(e, "iqn.2006-12.local:me", tt.next, nil); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
