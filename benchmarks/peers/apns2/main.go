// The peer sideshow/apns2, driven through its public API: so many goroutines push over one client.
//
// It speaks as the load tool's other roles do: each line of standard input is an order in JSON, each is
// answered by one line {"result": ...}; it ends with the end of its input.
package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/payload"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"
)

type facts struct {
	CAFile  string `json:"ca_file"`
	KeyFile string `json:"key_file"`
	KeyID   string `json:"key_id"`
	TeamID  string `json:"team_id"`
	Topic   string `json:"topic"`
	Port    int    `json:"apns_port"`
}

type order struct {
	Facts    facts   `json:"facts"`
	InFlight int     `json:"in_flight"`
	Seconds  float64 `json:"seconds"`
}

type result struct {
	Accepted int64   `json:"accepted"`
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu_s"`
}

func newClient(f facts) (*apns2.Client, error) {
	key, err := token.AuthKeyFromFile(f.KeyFile)
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(f.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("no certificate in %s", f.CAFile)
	}
	client := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: f.KeyID, TeamID: f.TeamID})
	client.Host = fmt.Sprintf("https://127.0.0.1:%d", f.Port)
	client.HTTPClient = &http.Client{
		Transport: &http2.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		Timeout:   apns2.HTTPClientTimeout,
	}
	return client, nil
}

func deviceToken(number int64) string {
	digest := sha256.Sum256([]byte(fmt.Sprintf("pin %d", number)))
	return hex.EncodeToString(digest[:])
}

func notification(topic string, number int64) *apns2.Notification {
	return &apns2.Notification{
		ApnsID:      fmt.Sprintf("00000000-0000-0000-0000-%012x", number),
		DeviceToken: deviceToken(number),
		Topic:       topic,
		PushType:    apns2.PushTypeAlert,
		Priority:    apns2.PriorityHigh,
		Expiration:  time.Unix(1800000000, 0),
		CollapseID:  fmt.Sprintf("%032x", number),
		Payload: payload.NewPayload().Alert(fmt.Sprintf("Order %07d is on its way", number)).
			Sound("hello.mp3").ContentAvailable().Custom("do_sync", []string{"Product"}).Custom("vibrate", "2000"),
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func run(o order) (result, error) {
	client, err := newClient(o.Facts)
	if err != nil {
		return result{}, err
	}
	// The connection is open before the clock starts
	if _, err := client.Push(notification(o.Facts.Topic, 0)); err != nil {
		return result{}, err
	}
	var number, accepted int64
	var group sync.WaitGroup
	begun, used := time.Now(), cpuSeconds()
	end := begun.Add(time.Duration(o.Seconds * float64(time.Second)))
	for range o.InFlight {
		group.Add(1)
		go func() {
			defer group.Done()
			for time.Now().Before(end) {
				answer, err := client.Push(notification(o.Facts.Topic, atomic.AddInt64(&number, 1)))
				if err == nil && answer.Sent() {
					atomic.AddInt64(&accepted, 1)
				}
			}
		}()
	}
	group.Wait()
	done := result{accepted, time.Since(begun).Seconds(), cpuSeconds() - used}
	client.CloseIdleConnections()
	return done, nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		err := json.Unmarshal(lines.Bytes(), &o)
		var done result
		if err == nil {
			done, err = run(o)
		}
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(map[string]result{"result": done})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
