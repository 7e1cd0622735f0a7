package box

import (
	"slices"

	"sanstick/appliance/api"
)

// actions are what the daemon can be told to do, by area.
func (b *box) actions() []api.Action {
	return slices.Concat(
		b.configActions(),
		b.diskActions(),
		b.hardwareActions(),
		b.arrayActions(),
		b.mendActions(),
		b.transferActions(),
		b.poolActions(),
		b.volumeActions(),
		b.updateActions(),
	)
}
