# Every route that RhoConnect's clients call, by rest-client, as rhoconnect-rb and the web console call them.
#   ruby surface.rb SERVER TOKEN PASSWORD    prints one line a call: what it is, the status, the body
require 'base64'
require 'json'
require 'rest-client'

SERVER, TOKEN, PASSWORD = ARGV
HEADERS = { 'X-RhoConnect-API-TOKEN' => TOKEN }.freeze
JSON_HEADERS = HEADERS.merge(content_type: :json).freeze

def say(name)
  answer = yield
  puts JSON.generate([name, answer.code, answer.body])
  answer
rescue RestClient::ExceptionWithResponse => error
  puts JSON.generate([name, error.response.code, error.response.body])
  error.response
end

def at(path)
  "#{SERVER}#{path}"
end

# The admin's login gives the token that all else needs.
say('login') { RestClient.post(at('/rc/v1/system/login'), { login: 'rhoadmin', password: PASSWORD }.to_json, content_type: :json) }
user = { attributes: { login: 'ann', password: 'secret' } }
say('create') { RestClient.post(at('/rc/v1/users'), user.to_json, JSON_HEADERS) }
say('create again') { RestClient.post(at('/rc/v1/users'), user.to_json, JSON_HEADERS) }
say('users') { RestClient.get(at('/rc/v1/users'), HEADERS) }
say('users by query') { RestClient.get(at('/rc/v1/users'), params: { api_token: TOKEN }) }
say('user') { RestClient.get(at('/rc/v1/users/ann'), HEADERS) }
say('update') { RestClient.put(at('/rc/v1/users/ann'), { attributes: { new_password: 'better' } }.to_json, JSON_HEADERS) }

# A device: login, client, registration; the session travels as a cookie.
login = say('device login') { RestClient.post(at('/rc/v1/app/login'), { login: 'ann', password: 'better', remember_me: 1 }.to_json, content_type: :json) }
session = { cookies: login.cookies }
client = say('device create') { RestClient.post(at('/rc/v1/clients'), '', session) }
client_id = JSON.parse(client.body)['client']['client_id']
device = {
  device_pin: 'ab' * 32, phone_id: 'phone', device_port: '100', device_type: 'APPLE', device_push_type: 'apple',
  device_app_id: 'com.example.app', device_app_version: '1.0'
}
register = at("/rc/v1/clients/#{client_id}/register")
say('device register') { RestClient.post(register, device.to_json, session.merge(content_type: :json)) }
say('clients') { RestClient.get(at('/rc/v1/users/ann/clients'), HEADERS) }
say('client') { RestClient.get(at("/rc/v1/clients/#{client_id}"), HEADERS) }
say('sources') { RestClient.get(at('/rc/v1/sources/type/user'), HEADERS) }

# The web console's ping form, as jQuery writes it.
form = 'user_id%5B%5D=ann&message=push+message&vibrate=2000&sound=welcome.mp3&badge=1&sources%5B%5D=Product&sources%5B%5D=News'
say('console ping') { RestClient.post(at('/rc/v1/users/ping'), form, HEADERS.merge(content_type: 'application/x-www-form-urlencoded; charset=UTF-8')) }

# What an outside push service asks.
basic = { authorization: "Basic #{Base64.strict_encode64('someapp:pass')}" }
say('app of the push service') { RestClient.get(at('/rc/v1/system/rps_login'), basic) }
say('user of the push service') { RestClient.get(at('/rc/v1/app/rps_login'), basic.merge(session)) }

# Logging out is a registration with nothing in it.
say('device logout') { RestClient.post(register, device.transform_values { '' }.to_json, session.merge(content_type: :json)) }
say('ping after logout') { RestClient.post(at('/rc/v1/users/ping'), { user_id: 'ann', message: 'x' }.to_json, JSON_HEADERS) }
say('delete client') { RestClient.delete(at("/rc/v1/users/ann/clients/#{client_id}"), HEADERS) }
say('delete user') { RestClient.delete(at('/rc/v1/users/ann'), HEADERS) }
say('no token') { RestClient.get(at('/rc/v1/users')) }
