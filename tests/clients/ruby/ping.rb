# The Ruby example of RhoConnect's documentation ("Example of Ping for Ruby Backend Application"), with what surrounds
# it: where to send, and whom.   ruby ping.rb SERVER TOKEN SOURCE BADGE USER...
require 'json'
require 'rest-client'

server, token, source_name, badge, *array_of_users = ARGV
@api_token = token

# :message - message which will be used to display notification popup dialog on the device
# :badge - iphone specific badge
# :sound - name of the sound file to play upon receiving PUSH notification
# :vibrate - number of seconds to vibrate upon receiving PUSH notification
# :sources - list of data source names to be synced upon receiving PUSH notification
ping_params = {
  :api_token => token,
  :user_id => [array_of_users],
  :sources => source_name,
  :message => 'hello world',
  :vibrate => 2000,
  :sound => 'hello.mp3'
}
ping_params[:badge] = badge.to_i # the example explains it and leaves it out

response = RestClient.post(
  "#{server}/rc/v1/users/ping", ping_params.to_json,
  { :content_type => :json,
    'X-RhoConnect-API-TOKEN' => @api_token }
)

puts response.code == 200
