// Package pace sends requests at a constant rate, whatever becomes of them.
package pace

import (
	"context"
	"sync"
	"time"
)

// Run calls send at a rate, in calls per second, until the context ends, and waits for the last ones. At most inFlight
// run at the same time: a call that would be one more is left out, and late is called instead.
func Run(ctx context.Context, rate, inFlight int, send, late func()) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	slots := make(chan struct{}, inFlight)
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			late()
			continue
		}
		calls.Go(func() {
			defer func() { <-slots }()
			send()
		})
	}
}
