// Command load sends requests at a constant rate until it is told to stop by SIGTERM or SIGINT, and then prints one JSON
// object: how many were sent, and how many failed, by what went wrong.
//
//	load -url http://198.19.128.1/ -host a.example -rate 200
//
// Half of the requests go over keep-alive connections, the other half over a connection of their own each. A request
// fails if its answer is not 200, or if there is none. As every client may (RFC 9110, section 9.2.2), Go's sends a GET
// again if a kept connection turns out to be closed before anything of the answer came; it is never sent a second time
// on a fresh connection.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"copal.dev/e2e/load/pace"
)

// A tally is what came of the requests.
type tally struct {
	mu       sync.Mutex
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Late     int            `json:"late"` // not sent, as too many were in flight
	Longest  int64          `json:"longest_ms"`
	Faults   map[string]int `json:"faults"`
}

func (t *tally) note(fault string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Requests++
	t.Longest = max(t.Longest, took.Milliseconds())
	if fault == "" {
		return
	}
	t.Failed++
	t.Faults[fault]++
	if t.Faults[fault] == 1 {
		fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05.000"), fault)
	}
}

func (t *tally) late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Late++
}

type target struct {
	url, host string
}

// get sends one request and says what is wrong with the answer.
func (t target) get(client *http.Client) string {
	request, err := http.NewRequest(http.MethodGet, t.url, nil)
	if err != nil {
		return err.Error()
	}
	request.Host = t.host
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "body: " + err.Error()
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Sprint("status ", response.StatusCode)
	}
	return ""
}

// inFlight bounds the requests of one kind that wait for an answer.
const inFlight = 100

// send sends requests at a rate until the context ends, and waits for the last answers.
func send(ctx context.Context, rate int, client *http.Client, to target, t *tally) {
	pace.Run(ctx, rate, inFlight, func() {
		start := time.Now()
		t.note(to.get(client), time.Since(start))
	}, t.late)
}

func main() {
	var to target
	flag.StringVar(&to.url, "url", "", "what to ask for (required)")
	flag.StringVar(&to.host, "host", "", "Host header")
	rate := flag.Int("rate", 200, "requests per second")
	timeout := flag.Duration("timeout", 10*time.Second, "limit for each request")
	flag.Parse()
	if to.url == "" || *rate < 2 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	t := &tally{Faults: map[string]int{}}
	kept := &http.Client{Timeout: *timeout, Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	fresh := &http.Client{Timeout: *timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	var both sync.WaitGroup
	both.Go(func() { send(ctx, *rate/2, kept, to, t) })
	both.Go(func() { send(ctx, *rate/2, fresh, to, t) })
	both.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
