// cron-differential answers what a Kubernetes CronJob makes of a schedule: whether it is accepted,
// and when it fires. It reads a JSON object per line and writes one for each, so that the Rust
// parser can be compared with the very code that CronJobs run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

type question struct {
	Schedule string `json:"schedule"`
	// IANA name; empty is UTC.
	TimeZone string `json:"timeZone"`
	// Instants in nanoseconds since 1970.
	After []int64 `json:"after"`
	// Firings wanted after each of them.
	Count int `json:"count"`
}

type answer struct {
	Accepted bool `json:"accepted"`
	// Firings after each instant, in seconds since 1970: each is a whole one, and some are further
	// away than nanoseconds can say.
	Firings [][]int64 `json:"firings"`
}

func main() {
	log.SetFlags(0)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		if err := encoder.Encode(reply(q)); err != nil {
			log.Fatal(err)
		}
	}
	if err := in.Err(); err != nil {
		log.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func reply(q question) answer {
	schedule, err := parse(q.Schedule)
	if err != nil {
		return answer{}
	}
	if q.TimeZone != "" {
		// As the CronJob controller does.
		schedule, err = cron.ParseStandard("TZ=" + q.TimeZone + " " + q.Schedule)
		if err != nil {
			log.Fatal(err)
		}
	}
	a := answer{Accepted: true, Firings: make([][]int64, len(q.After))}
	for i, after := range q.After {
		a.Firings[i] = []int64{}
		at := time.Unix(0, after).UTC()
		for len(a.Firings[i]) < q.Count {
			if at = schedule.Next(at); at.IsZero() {
				break
			}
			a.Firings[i] = append(a.Firings[i], at.Unix())
		}
	}
	return a
}

// parse does as the validation of CronJobs does, which refuses time zones in the schedule. Its
// parser panics on some input that it does not accept.
func parse(text string) (schedule cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if strings.Contains(text, "TZ") {
		return nil, fmt.Errorf("names a time zone")
	}
	return cron.ParseStandard(text)
}
