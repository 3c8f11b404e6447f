// The .NET example of RhoConnect's documentation ("Example of Ping for .NET Backend Application"), with what surrounds
// it: where to send, and whom.   mono Ping.exe SERVER TOKEN SOURCE BADGE USER...
// The space in its path is the documentation's.
using System;
using System.Collections;
using System.IO;
using System.Linq;
using System.Net;
using System.Text;
using System.Web.Script.Serialization;

static class Backend
{
    static string _endpoint_url;
    static string _api_token;
    static string[] array_of_users;

    private static bool perform_ping(String method, String source_name, String the_message, String vibrate_time, String sound_file,  Hashtable reqHash)
    {
        // add meta information
        reqHash.Add("user_id", array_of_users);
        reqHash.Add("source_id", source_name);
        reqHash.Add("message", the_message);
        reqHash.Add("vibrate", vibrate_time);
        reqHash.Add("sound", sound_file);

        JavaScriptSerializer js = new JavaScriptSerializer();
        string requestBody = js.Serialize(reqHash);

        Uri address = new Uri(_endpoint_url + "/rc/v1/users /ping");
        HttpWebRequest request = WebRequest.Create(address) as HttpWebRequest;
        request.ContentType = "application/json";
        request.Method = "POST";
        request.Headers.Add("X-RhoConnect-API-TOKEN", _api_token);

        byte[] byteData = UTF8Encoding.UTF8.GetBytes(requestBody);
        request.ContentLength = byteData.Length;
        using (Stream requestStream = request.GetRequestStream())
        {
            requestStream.Write(byteData, 0, byteData.Length);
        }
        using (HttpWebResponse response = request.GetResponse() as HttpWebResponse)
        {
            ;
        }

        return true;
    }

    static void Main(string[] args)
    {
        _endpoint_url = args[0];
        _api_token = args[1];
        array_of_users = args.Skip(4).ToArray();
        Hashtable reqHash = new Hashtable();
        reqHash.Add("badge", args[3]);
        Console.WriteLine(perform_ping("ping", args[2], "hello world", "2000", "hello.mp3", reqHash) ? "true" : "false");
    }
}
