// Pings a user with a client generated from the OpenAPI document, and prints the id and state of the ping.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"rhopush.test/client/api"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	server, token, user := os.Args[1], os.Args[2], os.Args[3]
	authorize := func(_ context.Context, request *http.Request) error {
		request.Header.Set("X-RhoConnect-API-TOKEN", token)
		return nil
	}
	client, err := api.NewClientWithResponses(server, api.WithRequestEditorFn(authorize))
	check(err)

	users := api.Ping_UserId{}
	check(users.FromPingUserId1([]string{user}))
	body := api.Ping{UserId: &users, Message: "hello"}
	ping, err := client.PostUsersPingWithResponse(context.Background(), nil, body)
	check(err)
	id := ping.HTTPResponse.Header.Get("X-Ping-Id")
	report, err := client.GetPingsByPingIdWithResponse(context.Background(), id)
	check(err)

	badge := api.Ping_Badge{}
	check(badge.FromPingBadge0(-1))
	refused, err := client.PostUsersPingWithResponse(context.Background(), nil, api.Ping{Badge: &badge})
	check(err)
	fmt.Println(ping.StatusCode(), id, report.JSON200.PingId, refused.JSON400.Error.Code)
}
